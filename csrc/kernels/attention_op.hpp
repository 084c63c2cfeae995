#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/ggml_cpu.hpp"

namespace tea::kernels {

// The operator that ggml_flash_attn_ext makes.
struct Attention {
    static constexpr uint16_t hidden = 0xFC00;  // -infinity in the mask

    explicit Attention(const ggml_tensor* op)
        : out(op), q(op->src[0]), k(op->src[1]), v(op->src[2]), mask(op->src[3]) {
        float max_bias = 0;
        std::memcpy(&scale, op->op_params, sizeof scale);
        std::memcpy(&max_bias, op->op_params + 1, sizeof max_bias);
        std::memcpy(&softcap, op->op_params + 2, sizeof softcap);
        has_bias = max_bias != 0;
    }

    // Whether our kernels can compute it.
    bool is_plain() const {
        const bool has_mask_only = !has_bias && out->src[4] == nullptr && mask != nullptr;  // [4]: sinks
        return has_mask_only && q->type == GGML_TYPE_F32 && k->type == GGML_TYPE_F16 &&
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
    bool has_bias = false;
};

}  // namespace tea::kernels
