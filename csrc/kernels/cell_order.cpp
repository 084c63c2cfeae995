#include "kernels/cell_order.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace tea::kernels {

namespace {

constexpr size_t max_caches = 64;

struct Cache {
    std::shared_ptr<std::vector<uint64_t>> written;  // shared with those that read it: its place may be taken
    uint64_t last_use;
};

// The caches that were written last. ggml tells nobody when a buffer is freed.
class Caches {
  public:
    static Caches& all() {
        static auto* caches = new Caches;  // never freed: threads may compute while the process ends
        return *caches;
    }

    void note(const ggml_tensor* set_rows) {
        const ggml_tensor* cells = set_rows->src[1];
        const std::lock_guard<std::mutex> lock(mutex_);
        Cache& cache = of_buffer_[set_rows->view_src->buffer];
        const auto n_cells = static_cast<size_t>(set_rows->ne[1]);
        if (cache.written == nullptr || cache.written->size() != n_cells) {
            cache.written = std::make_shared<std::vector<uint64_t>>(n_cells);
        }
        for (int64_t i = 0; i < cells->ne[0]; ++i) {
            (*cache.written)[static_cast<size_t>(static_cast<const int64_t*>(cells->data)[i])] = ++clock_;
        }
        cache.last_use = clock_;
        if (of_buffer_.size() > max_caches) {
            of_buffer_.erase(std::min_element(
                of_buffer_.begin(), of_buffer_.end(),
                [](const auto& a, const auto& b) { return a.second.last_use < b.second.last_use; }));
        }
    }

    // Null: nothing is known of it.
    std::shared_ptr<const std::vector<uint64_t>> written(const ggml_tensor* cache) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto found = of_buffer_.find(cache->buffer);
        const bool is_known = found != of_buffer_.end() && found->second.written != nullptr &&
                              found->second.written->size() == static_cast<size_t>(cache->ne[1]);
        return is_known ? found->second.written : nullptr;
    }

  private:
    std::mutex mutex_;
    std::map<const ggml_backend_buffer*, Cache> of_buffer_;
    uint64_t clock_ = 0;
};

class SetRowsTraits : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int /*n_threads*/, const ggml_tensor* /*op*/, size_t& /*size*/) override { return false; }

    bool compute_forward(ggml_compute_params* params, ggml_tensor* op) override {
        const bool is_cache = op->view_src != nullptr && op->view_src->buffer != nullptr &&
                              std::strncmp(op->view_src->name, "cache_", 6) == 0;
        if (params->ith == 0 && is_cache && op->ne[1] == op->view_src->ne[1] &&
            op->src[1]->type == GGML_TYPE_I64 && op->src[1]->ne[1] == 1) {
            try {
                Caches::all().note(op);
            } catch (const std::bad_alloc&) {  // on ggml's thread: the order stays as it was, or unknown
            }
        }
        return false;  // ggml writes them
    }
};

}  // namespace

CellOrder::CellOrder(const ggml_tensor* cache) {
    const ggml_tensor* whole = cache->view_src != nullptr ? cache->view_src : cache;
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

}  // namespace tea::kernels
