// Attention over a KV cache that many sequences share: docs/adr/0011-own-attention.md
//
// ggml's kernel tests the mask of every cell for every head in every layer. In a unified cache most cells are
// masked: they belong to other sequences. Few tokens are computed row by row (attention_rows.cpp), many in
// tiles (attention_tiles.cpp), with the same bits.

#include "kernels/attention.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/attention_op.hpp"
#include "kernels/attention_rows.hpp"
#include "kernels/attention_tiles.hpp"
#include "kernels/lanes.hpp"

namespace tea::kernels {

#ifdef TEA_LANES

namespace {

constexpr int64_t min_tokens_of_tiles = 16;

size_t rows_work_bytes(const Attention& op, int64_t n_threads) {
    return aligned(static_cast<size_t>(n_threads * (op.n_cells() + op.n_tokens())) * sizeof(int32_t));
}

// Computes this thread's share of all heads of all tokens; each share has about as many visible cells.
void attend_by_rows(const Attention& op, const ggml_compute_params* params) {
    auto* n_seen = static_cast<int32_t*>(params->wdata) + params->ith * (op.n_cells() + op.n_tokens());
    int32_t* cells = n_seen + op.n_tokens();
    int64_t n_all = 0;
    for (int64_t token = 0; token < op.n_tokens(); ++token) {
        const uint16_t* mask = op.mask_of(token);
        const auto n_hidden = std::count(mask, mask + op.n_cells(), Attention::hidden);
        n_seen[token] = static_cast<int32_t>(op.n_cells() - n_hidden + 1);
        n_all += n_seen[token] * op.n_heads();
    }
    int64_t n_before = 0;
    for (int64_t token = 0; token < op.n_tokens(); ++token) {
        const auto thread_of = [&](int64_t head) {
            const int64_t middle = 2 * (n_before + head * n_seen[token]) + n_seen[token];
            return middle * params->nth / (2 * n_all);
        };
        int64_t first = 0;
        while (first < op.n_heads() && thread_of(first) < params->ith) {
            ++first;
        }
        int64_t end = first;
        while (end < op.n_heads() && thread_of(end) == params->ith) {
            ++end;
        }
        if (first < end) {
            attend_one(op, token, first, end, find_seen(op, token, cells));
        }
        n_before += n_seen[token] * op.n_heads();
    }
}

bool has_tiles(const Attention& op) {
    return op.n_tokens() >= min_tokens_of_tiles && fits_tiles(op);
}

size_t work_bytes(const Attention& op, int64_t n_threads) {
    return has_tiles(op) ? tiles_work_bytes(op, n_threads) : rows_work_bytes(op, n_threads);
}

bool is_ours(const Attention& op) {
    return op.is_plain() && op.n_key() % 8 == 0 && op.n_value() % 8 == 0 && op.n_key() <= max_width &&
           op.n_value() <= max_width;
}

class AttentionTraits : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int n_threads, const ggml_tensor* op, size_t& size) override {
        const Attention attention(op);
        if (!is_ours(attention)) {
            return false;
        }
        size = work_bytes(attention, n_threads);
        return true;
    }

    bool compute_forward(ggml_compute_params* params, ggml_tensor* op) override {
        const Attention attention(op);
        // The work buffer may have been planned for another number of threads.
        if (!is_ours(attention) || params->wsize < work_bytes(attention, params->nth)) {
            return false;
        }
        if (has_tiles(attention)) {
            attend_in_tiles(attention, params);
        } else {
            attend_by_rows(attention, params);
        }
        return true;
    }
};

}  // namespace

ggml::cpu::tensor_traits* attention_traits() {
    static AttentionTraits traits;
    return &traits;
}

#else

ggml::cpu::tensor_traits* attention_traits() {
    return nullptr;
}

#endif

}  // namespace tea::kernels
