#include "kernels/cell_order.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

namespace tea::kernels {

namespace {

const ggml_tensor* whole_of(const ggml_tensor* tensor) {
    return tensor->view_src != nullptr ? tensor->view_src : tensor;
}

bool is_cache(const ggml_tensor* whole) {
    return whole->buffer != nullptr && std::strncmp(whole->name, "cache_", 6) == 0;
}

// What a thread copies between KV caches and saved states.
struct Transfer {
    std::vector<uint64_t> numbers;  // of the cells that were read
    std::vector<uint32_t> ranks;    // of the cells to be written
    uint64_t first_number = 0;      // of those
    size_t n_written = 0;
    bool is_incomplete = false;  // there was no memory for a number
    // All layers have the same cells: of each cache, those of this tensor count.
    std::map<const ggml_backend_buffer*, const ggml_tensor*> counted;
};

class Caches {
  public:
    static Caches& all() {
        static auto* caches = new Caches;  // never freed: threads may compute while the process ends
        return *caches;
    }

    void note_set_rows(const ggml_tensor* op) {
        const ggml_tensor* cells = op->src[1];
        const std::lock_guard<std::mutex> lock(mutex_);
        std::vector<uint64_t>& written = of(op->view_src);
        for (int64_t i = 0; i < cells->ne[0]; ++i) {
            written[static_cast<size_t>(static_cast<const int64_t*>(cells->data)[i])] = ++clock_;
        }
    }

    void note_read(const ggml_tensor* tensor, size_t offset, size_t n_bytes) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto transfer = transfers_.find(std::this_thread::get_id());
        if (transfer == transfers_.end() || !is_counted(transfer->second, tensor)) {
            return;
        }
        const std::vector<uint64_t>& written = of(whole_of(tensor));
        const auto [first, end] = rows(tensor, offset, n_bytes);
        transfer->second.numbers.insert(transfer->second.numbers.end(), written.begin() + first,
                                        written.begin() + end);
    }

    void note_write(const ggml_tensor* tensor, size_t offset, size_t n_bytes) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto found = transfers_.find(std::this_thread::get_id());
        Transfer unexpected;
        Transfer& transfer = found == transfers_.end() ? unexpected : found->second;
        if (!is_counted(transfer, tensor)) {
            return;
        }
        std::vector<uint64_t>& written = of(whole_of(tensor));
        const auto [first, end] = rows(tensor, offset, n_bytes);
        for (auto cell = first; cell < end; ++cell) {
            const size_t i = transfer.n_written++;
            written[static_cast<size_t>(cell)] =
                i < transfer.ranks.size() ? transfer.first_number + transfer.ranks[i] : ++clock_;
        }
    }

    void begin_copying(std::vector<uint32_t> ranks) {
        const std::lock_guard<std::mutex> lock(mutex_);
        Transfer transfer;
        transfer.first_number = clock_ + 1;
        clock_ += ranks.size();
        transfer.ranks = std::move(ranks);
        transfers_[std::this_thread::get_id()] = std::move(transfer);
    }

    void lose_read() {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto transfer = transfers_.find(std::this_thread::get_id());
        if (transfer != transfers_.end()) {
            transfer->second.is_incomplete = true;
        }
    }

    std::vector<uint64_t> numbers_read() {
        const std::lock_guard<std::mutex> lock(mutex_);
        const Transfer& transfer = transfers_.at(std::this_thread::get_id());
        if (transfer.is_incomplete) {
            throw std::bad_alloc();
        }
        return transfer.numbers;
    }

    void end_copying() {
        const std::lock_guard<std::mutex> lock(mutex_);
        transfers_.erase(std::this_thread::get_id());
    }

    void forget(const ggml_backend_buffer* buffer) {
        const std::lock_guard<std::mutex> lock(mutex_);
        of_buffer_.erase(buffer);
    }

    // Null: nothing was written.
    std::shared_ptr<const std::vector<uint64_t>> written(const ggml_tensor* whole) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto found = of_buffer_.find(whole->buffer);
        const bool is_known =
            found != of_buffer_.end() && found->second->size() == static_cast<size_t>(whole->ne[1]);
        return is_known ? found->second : nullptr;
    }

  private:
    std::vector<uint64_t>& of(const ggml_tensor* whole) {
        auto& written = of_buffer_[whole->buffer];
        const auto n_cells = static_cast<size_t>(whole->ne[1]);
        if (written == nullptr || written->size() != n_cells) {
            written = std::make_shared<std::vector<uint64_t>>(n_cells);
        }
        return *written;
    }

    static bool is_counted(Transfer& transfer, const ggml_tensor* tensor) {
        const ggml_tensor* whole = whole_of(tensor);
        return transfer.counted.emplace(whole->buffer, whole).first->second == whole;
    }

    // The first row that is copied, and the one behind the last.
    static std::pair<ptrdiff_t, ptrdiff_t> rows(const ggml_tensor* tensor, size_t offset, size_t n_bytes) {
        const ggml_tensor* whole = whole_of(tensor);
        const size_t begin = offset + (tensor == whole ? 0 : tensor->view_offs);
        return {static_cast<ptrdiff_t>(begin / whole->nb[1]),
                static_cast<ptrdiff_t>((begin + n_bytes) / whole->nb[1])};
    }

    std::mutex mutex_;
    std::map<const ggml_backend_buffer*, std::shared_ptr<std::vector<uint64_t>>>
        of_buffer_;  // shared with readers
    std::map<std::thread::id, Transfer> transfers_;
    uint64_t clock_ = 0;
};

class SetRowsTraits : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int /*n_threads*/, const ggml_tensor* /*op*/, size_t& /*size*/) override { return false; }

    bool compute_forward(ggml_compute_params* params, ggml_tensor* op) override {
        if (params->ith == 0 && op->view_src != nullptr && is_cache(op->view_src) &&
            op->ne[1] == op->view_src->ne[1] && op->src[1]->type == GGML_TYPE_I64 && op->src[1]->ne[1] == 1) {
            try {
                Caches::all().note_set_rows(op);
            } catch (const std::bad_alloc&) {  // on ggml's thread: the order stays as it was, or unknown
            }
        }
        return false;  // ggml writes them
    }
};

// Only of keys: values may be transposed, and then a row is no cell.
bool has_cells(const ggml_tensor* tensor) {
    const ggml_tensor* whole = whole_of(tensor);
    return is_cache(whole) && std::strncmp(whole->name, "cache_k", 7) == 0 && whole->ne[2] == 1;
}

// What ggml does with the buffers and their type.
ggml_backend_buffer_i cpu_buffer;
ggml_backend_buffer_t (*allocate_cpu_buffer)(ggml_backend_buffer_type_t, size_t);

void get_tensor(ggml_backend_buffer_t buffer, const ggml_tensor* tensor, void* data, size_t offset,
                size_t n_bytes) {
    cpu_buffer.get_tensor(buffer, tensor, data, offset, n_bytes);
    if (has_cells(tensor)) {
        try {
            Caches::all().note_read(tensor, offset, n_bytes);
        } catch (const std::bad_alloc&) {  // llama.cpp calls it in a destructor: ranks_of_read() will throw
            Caches::all().lose_read();
        }
    }
}

void set_tensor(ggml_backend_buffer_t buffer, ggml_tensor* tensor, const void* data, size_t offset,
                size_t n_bytes) {
    cpu_buffer.set_tensor(buffer, tensor, data, offset, n_bytes);
    if (has_cells(tensor)) {
        try {
            Caches::all().note_write(tensor, offset, n_bytes);
        } catch (const std::bad_alloc&) {  // as above: the order stays as it was, or unknown
        }
    }
}

void free_buffer(ggml_backend_buffer_t buffer) {
    Caches::all().forget(buffer);
    cpu_buffer.free_buffer(buffer);
}

ggml_backend_buffer_t allocate_watched_buffer(ggml_backend_buffer_type_t type, size_t n_bytes) {
    ggml_backend_buffer_t buffer = allocate_cpu_buffer(type, n_bytes);
    if (buffer != nullptr) {
        buffer->iface.get_tensor = get_tensor;
        buffer->iface.set_tensor = set_tensor;
        buffer->iface.free_buffer = free_buffer;
    }
    return buffer;
}

}  // namespace

CellOrder::CellOrder(const ggml_tensor* cache) {
    const ggml_tensor* whole = whole_of(cache);
    if (whole->buffer != nullptr) {
        written_ = Caches::all().written(whole);
    }
}

void CellOrder::sort(int32_t* cells, int64_t n) const {
    if (written_ == nullptr) {
        return;
    }
    const uint64_t* written = written_->data();
    const auto is_before = [&](int32_t a, int32_t b) { return written[a] < written[b]; };
    // Nearly always it is one run in the right order, else a few.
    for (int32_t* end = std::is_sorted_until(cells, cells + n, is_before); end != cells + n;) {
        int32_t* next = std::is_sorted_until(end, cells + n, is_before);
        std::inplace_merge(cells, end, next, is_before);
        end = next;
    }
}

ggml::cpu::tensor_traits* cell_order_traits() {
    static SetRowsTraits traits;
    return &traits;
}

void watch_cpu_buffers() {
    ggml_backend_buffer_type_t type = ggml_backend_cpu_buffer_type();
    ggml_backend_buffer_t buffer = ggml_backend_buft_alloc_buffer(type, 1);
    if (buffer == nullptr) {
        throw std::bad_alloc();
    }
    cpu_buffer = buffer->iface;
    ggml_backend_buffer_free(buffer);
    allocate_cpu_buffer = std::exchange(type->iface.alloc_buffer, allocate_watched_buffer);
}

void begin_copying(std::vector<uint32_t> ranks) {
    Caches::all().begin_copying(std::move(ranks));
}

std::vector<uint32_t> ranks_of_read() {
    const std::vector<uint64_t> numbers = Caches::all().numbers_read();
    std::vector<uint32_t> order(numbers.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return numbers[a] < numbers[b]; });
    std::vector<uint32_t> ranks(numbers.size());
    for (size_t i = 0; i < order.size(); ++i) {
        ranks[order[i]] = static_cast<uint32_t>(i);
    }
    return ranks;
}

void end_copying() {
    Caches::all().end_copying();
}

}  // namespace tea::kernels
