#pragma once

#include <cstdint>
#include <string>
#include <vector>

// Everything a caller may choose, as plain structs. Defaults are the ones the public API documents;
// -1 means "choose for me" where the comment says so.

namespace tea {

enum class KvType { f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl };
enum class FlashAttention { automatic, off, on };
enum class RopeScaling { from_model, none, linear, yarn, longrope };

struct ModelOptions {
    std::string path;
    bool vocab_only = false;    // the tokenizer alone
    int32_t n_gpu_layers = -1;  // -1: as many as the devices take
    int32_t main_gpu = 0;
    std::vector<float> tensor_split;  // share of each GPU; empty: by free memory
    bool use_mmap = true;
    bool use_mlock = false;
};

struct EngineOptions {
    int64_t n_ctx = -1;  // longest request, in tokens; -1: what the model was trained for and memory allows
    int32_t n_parallel = 8;  // requests that run at once
    int32_t n_threads = -1;  // -1: what this process may use
    KvType cache_type_k = KvType::f16;
    KvType cache_type_v = KvType::f16;
    FlashAttention flash_attn = FlashAttention::automatic;
    RopeScaling rope_scaling = RopeScaling::from_model;
    double stream_slowdown = 2;  // how much longer a step may take for prompts beside streams
    int32_t prompt_lookup = 0;   // most tokens to guess from the text so far, for each request and step
    bool audits = false;         // for tests: the books are compared with llama.cpp's after every step
};

struct SamplingOptions {
    float temperature = 0.7F;  // 0: greedy
    int32_t top_k = 40;        // 0: off
    float top_p = 0.95F;       // 1: off
    float min_p = 0.05F;       // 0: off
    uint64_t seed = 0;
};

struct RequestOptions {
    std::vector<int32_t> prompt;  // token ids
    int64_t max_tokens = 100;     // -1: until the model ends or the context is full
    SamplingOptions sampling;
    std::vector<std::string> stop;  // non-empty UTF-8 strings
    bool ignore_eos = false;        // end-of-generation tokens are never sampled
    double timeout_s = 0;           // 0: none
    int32_t priority = 0;           // the higher, the sooner; one more for each 10 s of waiting
    int32_t n_top_logits = 0;       // of each step, the best raw logits to keep for the result
};

}  // namespace tea
