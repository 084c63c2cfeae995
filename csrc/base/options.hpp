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
    bool layout_only = false;  // no weights: for asking what contexts would take (Footprint)
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
    int32_t prompt_lookup = 0;   // max tokens to guess from the text so far, for each request and step
    int64_t cache_ram = -1;      // bytes for pasts outside of the KV cache; -1: half of what that may take
    bool deterministic = false;  // an answer has the same bits whatever else is, or was, computed
    bool audits = false;         // for tests: the books are compared with llama.cpp's after every step
};

// A token's number that is added to its logit.
struct LogitBias {
    int32_t token;
    float bias;
};

struct SamplingOptions {
    float temperature = 0.7F;   // 0: greedy
    int32_t top_k = 40;         // 0: off
    float typical_p = 1;        // 1: off
    float top_p = 0.95F;        // 1: off
    float min_p = 0.05F;        // 0: off
    float xtc_probability = 0;  // 0: off
    float xtc_threshold = 0.1F;
    uint64_t seed = 0;

    float repeat_penalty = 1;  // 1: off
    float presence_penalty = 0;
    float frequency_penalty = 0;
    int32_t repeat_last_n = 64;  // tokens that these look back; -1: all
    float dry_multiplier = 0;    // 0: off
    float dry_base = 1.75F;
    int32_t dry_allowed_length = 2;
    int32_t dry_penalty_last_n = -1;  // tokens that it looks back; -1: all
    std::vector<std::string> dry_sequence_breakers{"\n", ":", "\"", "*"};
    int32_t mirostat = 0;  // 2: instead of all filters; 0: off
    float mirostat_tau = 5;
    float mirostat_eta = 0.1F;
    std::vector<LogitBias> logit_bias;
};

// How long a model may think before it answers.
struct ReasoningOptions {
    int64_t budget = -1;   // tokens; -1: any
    std::string start;     // the text that begins it; empty: nothing does
    std::string end;       // the text that ends it
    bool is_open = false;  // the prompt has begun it
};

struct RequestOptions {
    std::vector<int32_t> prompt;  // token ids
    int64_t max_tokens = 100;     // -1: until the model ends or the context is full
    SamplingOptions sampling;
    std::vector<std::string> stop;     // non-empty UTF-8 strings
    bool ignore_eos = false;           // end-of-generation tokens are never sampled
    double timeout_s = 0;              // 0: none
    int32_t priority = 0;              // the higher, the sooner; one more for each 10 s of waiting
    int32_t n_top_logits = 0;          // of each step, the best raw logits to keep for the result
    std::string grammar;               // GBNF that the answer must match; empty: none
    std::string grammar_prefix;        // the prompt's end, where the grammar begins with it
    std::vector<std::string> markers;  // control tokens that are written as their texts
    ReasoningOptions reasoning;
    bool scores = false;      // no answer, but how likely each token of the prompt is after those before
    int32_t n_logprobs = -1;  // log-probabilities: of each token and the n_logprobs best ones; -1: off
};

}  // namespace tea
