#include "llama/context_params.hpp"

namespace tea {

namespace {

llama_flash_attn_type flash_attn_type(FlashAttention choice) {
    switch (choice) {
        case FlashAttention::off:
            return LLAMA_FLASH_ATTN_TYPE_DISABLED;
        case FlashAttention::on:
            return LLAMA_FLASH_ATTN_TYPE_ENABLED;
        case FlashAttention::automatic:
            break;
    }
    return LLAMA_FLASH_ATTN_TYPE_AUTO;
}

llama_rope_scaling_type rope_scaling_type(RopeScaling choice) {
    switch (choice) {
        case RopeScaling::none:
            return LLAMA_ROPE_SCALING_TYPE_NONE;
        case RopeScaling::linear:
            return LLAMA_ROPE_SCALING_TYPE_LINEAR;
        case RopeScaling::yarn:
            return LLAMA_ROPE_SCALING_TYPE_YARN;
        case RopeScaling::longrope:
            return LLAMA_ROPE_SCALING_TYPE_LONGROPE;
        case RopeScaling::from_model:
            break;
    }
    return LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED;
}

}  // namespace

ggml_type ggml_type_of(KvType type) {
    switch (type) {
        case KvType::f32:
            return GGML_TYPE_F32;
        case KvType::f16:
            return GGML_TYPE_F16;
        case KvType::bf16:
            return GGML_TYPE_BF16;
        case KvType::q8_0:
            return GGML_TYPE_Q8_0;
        case KvType::q4_0:
            return GGML_TYPE_Q4_0;
        case KvType::q4_1:
            return GGML_TYPE_Q4_1;
        case KvType::q5_0:
            return GGML_TYPE_Q5_0;
        case KvType::q5_1:
            return GGML_TYPE_Q5_1;
        case KvType::iq4_nl:
            return GGML_TYPE_IQ4_NL;
    }
    return GGML_TYPE_F16;
}

llama_context_params context_params(const DecoderOptions& options, int32_t n_cells) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<uint32_t>(n_cells);
    params.n_batch = static_cast<uint32_t>(options.n_batch);
    // One step is one ubatch, and happens wholly or not at all, but with recurrent states.
    params.n_ubatch = params.n_batch;
    params.n_seq_max = static_cast<uint32_t>(options.n_sequences);
    params.n_outputs_max = static_cast<uint32_t>(options.n_rows);
    params.rope_scaling_type = rope_scaling_type(options.rope_scaling);
    params.flash_attn_type = flash_attn_type(options.flash_attn);
    params.type_k = ggml_type_of(options.cache_type_k);
    params.type_v = ggml_type_of(options.cache_type_v);
    params.kv_unified = true;
    params.swa_full = false;
    params.no_perf = true;
    return params;
}

}  // namespace tea
