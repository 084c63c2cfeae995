#pragma once

// Operands of random operators: they end at a page that must not be touched, or begin behind one, and memory
// that nothing may read is NaN.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <random>
#include <vector>

#include "ggml-cpp.h"
#include "ggml-cpu.h"

namespace tea::test {

using Random = std::mt19937_64;

inline int64_t between(Random& random, int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
}
inline bool one_in(Random& random, int64_t n) {
    return between(random, 1, n) == 1;
}
template <typename T>
T one_of(Random& random, std::initializer_list<T> choices) {
    return *(choices.begin() + between(random, 0, static_cast<int64_t>(choices.size()) - 1));
}
inline float normal(Random& random) {
    return std::normal_distribution<float>()(random);
}

// Memory between two pages that must not be touched; full of NaNs.
class Guarded {
  public:
    Guarded(size_t n_bytes, size_t alignment, bool is_at_end) {
        const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        const size_t n_inside = (n_bytes + page - 1) / page * page;
        n_all_ = n_inside + 2 * page;
        base_ = static_cast<char*>(
            mmap(nullptr, n_all_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (base_ == MAP_FAILED || mprotect(base_, page, PROT_NONE) != 0 ||
            mprotect(base_ + page + n_inside, page, PROT_NONE) != 0) {
            std::perror("no guarded memory");
            std::exit(2);
        }
        std::memset(base_ + page, 0xFF, n_inside);
        data_ = base_ + page + (is_at_end ? (n_inside - n_bytes) / alignment * alignment : 0);
    }
    ~Guarded() { munmap(base_, n_all_); }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;
    char* data() const { return data_; }

  private:
    char* base_;
    char* data_;
    size_t n_all_;
};

// The operands of one operator.
class Case {
  public:
    explicit Case(Random& random)
        : is_at_end_(one_in(random, 2)), context_(ggml_init({size_t{1} << 20, nullptr, /*no_alloc=*/true})) {}

    ggml_context* context() const { return context_.get(); }

    // A tensor with gaps of `gap` bytes behind each row.
    ggml_tensor* tensor(ggml_type type, std::initializer_list<int64_t> shape, size_t gap = 0) {
        const auto n = static_cast<int>(shape.size());
        ggml_tensor* made = ggml_new_tensor(context(), type, n, shape.begin());
        for (int i = 1; i < GGML_MAX_DIMS; ++i) {
            made->nb[i] = i == 1 ? made->nb[1] + gap : made->nb[i - 1] * static_cast<size_t>(made->ne[i - 1]);
        }
        place(made, gap);
        return made;
    }
    void place(ggml_tensor* tensor, size_t gap = 0) {
        const size_t n_bytes = tensor->nb[3] * static_cast<size_t>(tensor->ne[3]) - gap;
        const size_t alignment = tensor->type == GGML_TYPE_F32 || tensor->type == GGML_TYPE_I32 ? 4 : 2;
        memory_.push_back(std::make_unique<Guarded>(n_bytes, alignment, is_at_end_));
        tensor->data = memory_.back()->data();
    }

    const float* compute(ggml_tensor* out, int n_threads) {
        place(out);
        ggml_cgraph* graph = ggml_new_graph(context());
        ggml_build_forward_expand(graph, out);
        ggml_cplan plan = ggml_graph_plan(graph, n_threads, nullptr);
        const Guarded work(plan.work_size + 4, 4, is_at_end_);
        plan.work_data = reinterpret_cast<uint8_t*>(work.data());
        ggml_graph_compute(graph, &plan);
        return static_cast<const float*>(out->data);
    }

  private:
    bool is_at_end_;
    ggml_context_ptr context_;
    std::vector<std::unique_ptr<Guarded>> memory_;
};

}  // namespace tea::test
