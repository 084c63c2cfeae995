// Attention over a KV cache that many sequences share: docs/adr/0011-own-attention.md
//
// ggml's kernel asks of each head in each layer, for each cell, whether it is masked. In a unified cache most
// are: they belong to other sequences. Here a token's visible cells are found once for all of its heads, four
// at a time; heads that share keys and values take them together; and the softmax is taken of a block of
// cells with vector registers. Many tokens: attention_tiles.cpp

#include "kernels/attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/attention_op.hpp"
#include "kernels/attention_tiles.hpp"

namespace tea::kernels {

namespace {

constexpr int64_t most_tokens = 63;  // from 64 on, ggml multiplies tiles, too
constexpr int32_t n_block = 256;     // cells of a softmax
constexpr int32_t n_ahead = 8;       // cells that are fetched meanwhile

// Has a row come near that is wanted soon.
void fetch(const ggml_fp16_t* row, int n) {
#ifdef __GNUC__
    for (int i = 0; i < n; i += 32) {  // a cache line
        __builtin_prefetch(row + i);
    }
#else
    (void)row;
    (void)n;
#endif
}

// Calls visit(cell) for each that is not hidden, from `first` on, until it returns false; returns the next
// one.
template <typename Visit>
int64_t for_each_visible(const uint16_t* mask, int64_t first, int64_t n_cells, Visit visit) {
    constexpr uint64_t four_hidden = Attention::hidden * 0x0001000100010001U;
    int64_t cell = first;
    while (cell < n_cells) {
        if (cell + 4 <= n_cells) {
            uint64_t four = 0;
            std::memcpy(&four, mask + cell, sizeof four);
            if (four == four_hidden) {
                cell += 4;
                continue;
            }
        }
        const int64_t end = std::min(cell + 4, n_cells);
        for (; cell < end; ++cell) {
            if (mask[cell] != Attention::hidden && !visit(cell)) {
                return cell + 1;
            }
        }
    }
    return n_cells;
}

}  // namespace

void attend_one(const Attention& op, int64_t token, int64_t first, int64_t n) {
    const auto n_key = static_cast<int>(op.q->ne[0]);
    const auto n_value = static_cast<int>(op.v->ne[0]);
    alignas(64) ggml_fp16_t queries[most_heads][most_width];
    alignas(64) float sums[most_heads][most_width];
    alignas(64) float weights[most_heads][n_block];
    alignas(64) float value[most_width];
    int32_t cells[n_block];
    float largest[most_heads];
    float totals[most_heads];
    for (int64_t h = 0; h < n; ++h) {
        ggml_cpu_fp32_to_fp16(op.query(token, first + h), queries[h], n_key);
        std::fill_n(sums[h], n_value, 0.0F);
        largest[h] = -INFINITY;
        totals[h] = 0;
    }
    const uint16_t* mask = op.mask_of(token);
    for (int64_t next = 0; next < op.n_cells();) {
        int32_t n_cells = 0;
        next = for_each_visible(mask, next, op.n_cells(), [&](int64_t cell) {
            cells[n_cells++] = static_cast<int32_t>(cell);
            return n_cells < n_block;
        });
        for (int32_t i = 0; i < n_cells; ++i) {
            fetch(op.key(cells[std::min(i + n_ahead, n_cells - 1)], first), n_key);
            fetch(op.value(cells[i], first), n_value);
            ggml_fp16_t* key = op.key(cells[i], first);
            const float bias = GGML_CPU_FP16_TO_FP32(mask[cells[i]]);
            for (int64_t h = 0; h < n; ++h) {
                float product = 0;
                ggml_vec_dot_f16(n_key, &product, 0, key, 0, queries[h], 0, 1);
                product *= op.scale;
                if (op.softcap != 0) {
                    product = op.softcap * std::tanh(product / op.softcap);
                }
                weights[h][i] = product + bias;
            }
        }
        for (int64_t h = 0; h < n && n_cells > 0; ++h) {
            const float most = std::max(largest[h], *std::max_element(weights[h], weights[h] + n_cells));
            if (totals[h] > 0 && most > largest[h]) {
                const float shrink = std::exp(largest[h] - most);
                ggml_vec_scale_f32(n_value, sums[h], shrink);
                totals[h] *= shrink;
            }
            largest[h] = most;
            totals[h] += static_cast<float>(ggml_vec_soft_max_f32(n_cells, weights[h], weights[h], most));
        }
        for (int32_t i = 0; i < n_cells; ++i) {
            ggml_cpu_fp16_to_fp32(op.value(cells[i], first), value, n_value);
            for (int64_t h = 0; h < n; ++h) {
                ggml_vec_mad_f32(n_value, sums[h], value, weights[h][i]);
            }
        }
    }
    for (int64_t h = 0; h < n; ++h) {
        ggml_vec_scale_f32(n_value, sums[h], totals[h] > 0 ? 1 / totals[h] : 0);  // 0: it sees nothing
        std::copy_n(sums[h], n_value, op.result(token, first + h));
    }
}

namespace {

// This thread's share of the tokens' heads: as many visible cells as the others', about.
void compute(const Attention& op, int64_t thread, int64_t n_threads) {
    int64_t n_visible[most_tokens];
    int64_t n_all = 0;
    for (int64_t token = 0; token < op.n_tokens(); ++token) {
        n_visible[token] = 1;
        const uint16_t* mask = op.mask_of(token);
        n_visible[token] += op.n_cells() - std::count(mask, mask + op.n_cells(), Attention::hidden);
        n_all += n_visible[token] * op.n_heads();
    }
    const int64_t n_together = std::min(most_heads, op.heads_per_key());
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
            if (params->wsize < tiles_work_bytes(attention, params->nth)) {  // planned for other threads
                return false;
            }
            attend_in_tiles(attention, params);
        } else {
            compute(attention, params->ith, params->nth);
        }
        return true;
    }

  private:
    // With few heads, ggml has threads share cells.
    static bool is_ours(const Attention& op, int64_t n_threads) {
        return op.is_plain() && op.n_key() <= most_width && op.n_value() <= most_width &&
               (op.n_tokens() <= most_tokens || has_tiles(op)) &&
               op.n_tokens() * op.n_heads() >= 2 * n_threads;
    }
};

}  // namespace

ggml::cpu::tensor_traits* attention_traits() {
    static AttentionTraits traits;
    return &traits;
}

}  // namespace tea::kernels
