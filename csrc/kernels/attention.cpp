// Attention over a KV cache that many sequences share: docs/adr/0011-own-attention.md
//
// ggml's kernel tests the mask of every cell for every head in every layer. In a unified cache most cells are
// masked: they belong to other sequences. Few tokens are computed row by row (attention_rows.cpp), many in
// tiles (attention_tiles.cpp).

#include "kernels/attention.hpp"

#include <algorithm>
#include <cstdint>

#include "kernels/attention_op.hpp"
#include "kernels/attention_rows.hpp"
#include "kernels/attention_tiles.hpp"

namespace tea::kernels {

namespace {

constexpr int64_t max_tokens = 63;  // from 64 tokens on, ggml computes tiles, too

// Computes this thread's share of all heads of all tokens; each share has about as many visible cells.
void compute(const Attention& op, int64_t thread, int64_t n_threads) {
    int64_t n_visible[max_tokens];
    int64_t n_all = 0;
    for (int64_t token = 0; token < op.n_tokens(); ++token) {
        n_visible[token] = 1;
        const uint16_t* mask = op.mask_of(token);
        n_visible[token] += op.n_cells() - std::count(mask, mask + op.n_cells(), Attention::hidden);
        n_all += n_visible[token] * op.n_heads();
    }
    const int64_t n_together = std::min(max_heads, op.heads_per_key());
    int64_t n_before = 0;
    for (int64_t token = 0; token < op.n_tokens(); ++token) {
        const auto is_mine = [&](int64_t head) {
            const int64_t middle = 2 * (n_before + head * n_visible[token]) + n_visible[token];
            return middle * n_threads / (2 * n_all) == thread;
        };
        for (int64_t head = 0; head < op.n_heads();) {
            const int64_t end = std::min(head / op.heads_per_key() * op.heads_per_key() + op.heads_per_key(),
                                         head + n_together);
            int64_t n = 0;
            while (head + n < end && is_mine(head + n)) {
                ++n;
            }
            if (n > 0) {
                attend_one(op, token, head, n);
            }
            head += std::max<int64_t>(n, 1);
        }
        n_before += n_visible[token] * op.n_heads();
    }
}

class AttentionTraits : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int n_threads, const ggml_tensor* op, size_t& size) override {
        const Attention attention(op);
        if (!is_ours(attention, n_threads) || !has_tiles(attention)) {
            return false;
        }
        size = tiles_work_bytes(attention, n_threads);
        return true;
    }

    bool compute_forward(ggml_compute_params* params, ggml_tensor* op) override {
        const Attention attention(op);
        if (!is_ours(attention, params->nth)) {
            return false;
        }
        if (has_tiles(attention)) {
            if (params->wsize <
                tiles_work_bytes(attention, params->nth)) {  // planned for another number of threads
                return false;
            }
            attend_in_tiles(attention, params);
        } else {
            compute(attention, params->ith, params->nth);
        }
        return true;
    }

  private:
    // With few heads ggml is better: its threads share the cells of a head.
    static bool is_ours(const Attention& op, int64_t n_threads) {
        return op.is_plain() && op.n_key() <= max_width && op.n_value() <= max_width &&
               (op.n_tokens() <= max_tokens || has_tiles(op)) &&
               op.n_tokens() * op.n_heads() >= 2 * n_threads;
    }
};

}  // namespace

ggml::cpu::tensor_traits* attention_traits() {
    static AttentionTraits traits;
    return &traits;
}

}  // namespace tea::kernels
