#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/ggml_cpu.hpp"

namespace tea::kernels {

// The operator that ggml_flash_attn_ext makes.
struct Attention {
    static constexpr uint16_t hidden = 0xFC00;  // -infinity in the mask

    explicit Attention(const ggml_tensor* op)
        : out(op), q(op->src[0]), k(op->src[1]), v(op->src[2]), mask(op->src[3]) {
        std::memcpy(&scale, op->op_params, sizeof scale);
        std::memcpy(&max_bias, op->op_params + 1, sizeof max_bias);
        std::memcpy(&softcap, op->op_params + 2, sizeof softcap);
    }

    // Whether our kernels can compute it.
    bool is_plain() const {
        return mask != nullptr && q->type == GGML_TYPE_F32 && k->type == GGML_TYPE_F16 &&
               v->type == GGML_TYPE_F16 && mask->type == GGML_TYPE_F16 && mask->ne[2] == 1 &&
               mask->ne[3] == 1 && q->ne[3] == 1 && k->ne[3] == 1 && v->ne[2] == k->ne[2] &&
               q->nb[0] == sizeof(float) && k->nb[0] == sizeof(ggml_fp16_t) &&
               v->nb[0] == sizeof(ggml_fp16_t);
    }

    int64_t n_tokens() const { return q->ne[1]; }
    int64_t n_cells() const { return k->ne[1]; }
    int64_t n_key() const { return k->ne[0]; }    // width of a head's key
    int64_t n_value() const { return v->ne[0]; }  // and of its value
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
    // What the mask's numbers are multiplied by (ALiBi); 1: they are taken as they are.
    float slope(int64_t head) const {
        if (max_bias == 0) {
            return 1;
        }
        int64_t n_low = 1;  // the largest power of two that is no larger than the number of heads
        while (2 * n_low <= n_heads()) {
            n_low *= 2;
        }
        const float each = max_bias / static_cast<float>(n_low);
        return head < n_low ? std::exp2(-each * static_cast<float>(head + 1))
                            : std::exp2(-each / 2 * static_cast<float>(2 * (head - n_low) + 1));
    }
    // A score beside those of the cells, without a value; null: there is none.
    const float* sink(int64_t head) const {
        const ggml_tensor* sinks = out->src[4];
        return sinks == nullptr ? nullptr : static_cast<const float*>(sinks->data) + head;
    }
    float* result(int64_t token, int64_t head) const {
        return reinterpret_cast<float*>(at(out, head, token));
    }

    static char* at(const ggml_tensor* tensor, int64_t i1, int64_t i2) {
        return static_cast<char*>(tensor->data) + static_cast<size_t>(i1) * tensor->nb[1] +
               static_cast<size_t>(i2) * tensor->nb[2];
    }

    const ggml_tensor* out;
    const ggml_tensor* q;
    const ggml_tensor* k;
    const ggml_tensor* v;
    const ggml_tensor* mask;
    float scale = 1;
    float softcap = 0;
    float max_bias = 0;
};

}  // namespace tea::kernels
