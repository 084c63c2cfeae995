// Attention of few tokens over a KV cache that many sequences share: docs/adr/0011-own-attention.md
//
// ggml's kernel asks of each head in each layer, for each cell, whether it is masked. In a unified cache most
// are: they belong to other sequences. Here a token's visible cells are found once for all of its heads, four
// at a time; heads that share keys and values take them together; and the softmax is taken of a block of
// cells with vector registers.

#include "kernels/attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace tea::kernels {

namespace {

constexpr int64_t most_tokens = 63;  // from 64 on, ggml multiplies tiles
constexpr int64_t most_width = 576;  // numbers of a head
constexpr int64_t most_heads = 8;    // that are computed together
constexpr int32_t n_block = 256;     // cells of a softmax

// The operator, as ggml_flash_attn_ext made it.
struct Attention {
    explicit Attention(ggml_tensor* op)
        : out(op), q(op->src[0]), k(op->src[1]), v(op->src[2]), mask(op->src[3]) {
        float max_bias = 0;
        std::memcpy(&scale, op->op_params, sizeof scale);
        std::memcpy(&max_bias, op->op_params + 1, sizeof max_bias);
        std::memcpy(&softcap, op->op_params + 2, sizeof softcap);
        has_bias = max_bias != 0;
    }

    bool is_ours() const {
        const bool is_plain = !has_bias && out->src[4] == nullptr && mask != nullptr;  // [4]: sinks
        return is_plain && q->type == GGML_TYPE_F32 && k->type == GGML_TYPE_F16 && v->type == GGML_TYPE_F16 &&
               mask->type == GGML_TYPE_F16 && mask->ne[2] == 1 && mask->ne[3] == 1 && q->ne[3] == 1 &&
               k->ne[3] == 1 && q->ne[1] <= most_tokens && q->ne[0] <= most_width && v->ne[0] <= most_width &&
               v->ne[2] == k->ne[2] && q->nb[0] == sizeof(float) && k->nb[0] == sizeof(ggml_fp16_t) &&
               v->nb[0] == sizeof(ggml_fp16_t);
    }

    int64_t n_tokens() const { return q->ne[1]; }
    int64_t n_heads() const { return q->ne[2]; }
    int64_t heads_per_key() const { return q->ne[2] / k->ne[2]; }
    const float* query(int64_t token, int64_t head) const {
        return reinterpret_cast<const float*>(at(q, token, head));
    }
    ggml_fp16_t* key(int32_t cell, int64_t head) const {
        return reinterpret_cast<ggml_fp16_t*>(at(k, cell, head / heads_per_key()));
    }
    const ggml_fp16_t* value(int32_t cell, int64_t head) const {
        return reinterpret_cast<const ggml_fp16_t*>(at(v, cell, head / heads_per_key()));
    }
    const uint16_t* mask_of(int64_t token) const {
        return reinterpret_cast<const uint16_t*>(at(mask, token, 0));
    }
    float* result(int64_t token, int64_t head) const {
        return reinterpret_cast<float*>(at(out, head, token));
    }

    static char* at(const ggml_tensor* tensor, int64_t i1, int64_t i2) {
        return static_cast<char*>(tensor->data) + static_cast<size_t>(i1) * tensor->nb[1] +
               static_cast<size_t>(i2) * tensor->nb[2];
    }

    ggml_tensor* out;
    const ggml_tensor* q;
    const ggml_tensor* k;
    const ggml_tensor* v;
    const ggml_tensor* mask;
    float scale = 1;
    float softcap = 0;
    bool has_bias = false;
};

// Calls visit(cell) for each that is not masked, from `first` on, until it returns false; returns the next
// one.
template <typename Visit>
int64_t for_each_visible(const uint16_t* mask, int64_t first, int64_t n_cells, Visit visit) {
    constexpr uint16_t hidden = 0xFC00;  // -infinity
    constexpr uint64_t four_hidden = 0xFC00FC00FC00FC00;
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
            if (mask[cell] != hidden && !visit(cell)) {
                return cell + 1;
            }
        }
    }
    return n_cells;
}

// One token's heads [first, first + n), which share keys and values.
void attend(const Attention& op, int64_t token, int64_t first, int64_t n) {
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
    for (int64_t next = 0; next < op.k->ne[1];) {
        int32_t n_cells = 0;
        next = for_each_visible(mask, next, op.k->ne[1], [&](int64_t cell) {
            cells[n_cells++] = static_cast<int32_t>(cell);
            return n_cells < n_block;
        });
        for (int32_t i = 0; i < n_cells; ++i) {
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

// This thread's share of the tokens' heads: as many visible cells as the others', about.
void compute(const Attention& op, int64_t thread, int64_t n_threads) {
    int64_t n_visible[most_tokens];
    int64_t n_all = 0;
    for (int64_t token = 0; token < op.n_tokens(); ++token) {
        n_visible[token] = 1;
        for_each_visible(op.mask_of(token), 0, op.k->ne[1], [&](int64_t) { return ++n_visible[token] > 0; });
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
                attend(op, token, head, n);
            }
            head += std::max<int64_t>(n, 1);
        }
        n_before += n_visible[token] * op.n_heads();
    }
}

class AttentionTraits : public ggml::cpu::tensor_traits {
  public:
    // The buffer that ggml plans for its own kernel is there all the same.
    bool work_size(int /*n_threads*/, const ggml_tensor* /*op*/, size_t& /*size*/) override { return false; }

    bool compute_forward(ggml_compute_params* params, ggml_tensor* op) override {
        const Attention attention(op);
        const bool is_enough = attention.n_tokens() * attention.n_heads() >= 2 * params->nth;
        if (!attention.is_ours() || !is_enough || params->use_ref) {
            return false;
        }
        compute(attention, params->ith, params->nth);
        return true;
    }
};

}  // namespace

ggml::cpu::tensor_traits* attention_traits() {
    static AttentionTraits traits;
    return &traits;
}

}  // namespace tea::kernels
