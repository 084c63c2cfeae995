#include "engine/engine_config.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "engine/check.hpp"
#include "engine/machine.hpp"
#include "ggml.h"
#include "llama.h"

namespace tea {

namespace {

constexpr int32_t n_ctx_unknown = 4096;  // for a model that does not say its trained length
constexpr int32_t most_tokens_per_step = 512;
constexpr int32_t cell_padding = 256;  // llama.cpp pads n_ctx to it
constexpr int32_t cells_at_start = 2048;
constexpr int32_t most_guesses = 64;

std::string gigabytes(double bytes) {
    std::string text = std::to_string(bytes / (1 << 30));
    return text.substr(0, text.find('.') + 2) + " GiB";
}

struct ContextSize {
    int64_t n_ctx;
    bool is_capped;
};

ContextSize context_size(const Model& model, const EngineOptions& options) {
    const int64_t n_trained = model.n_ctx_train() > 0 ? model.n_ctx_train() : n_ctx_unknown;
    const double token_bytes = model.kv_bytes_per_token(options.cache_type_k, options.cache_type_v);
    const int64_t available = machine::available_memory();
    if (options.n_ctx != -1) {
        check_between("n_ctx", options.n_ctx, 1, std::numeric_limits<int32_t>::max() - cell_padding);
        const double needed = static_cast<double>(options.n_ctx) * token_bytes;
        if (model.memory_class() != MemoryClass::recurrent && available >= 0 &&
            needed > static_cast<double>(available)) {
            throw Error(ErrorKind::invalid_argument,
                        "n_ctx=" + std::to_string(options.n_ctx) + " needs a KV cache of " +
                            gigabytes(needed) + ", but only " + gigabytes(static_cast<double>(available)) +
                            " of memory are free");
        }
        return {options.n_ctx, false};
    }
    if (available < 0 || token_bytes <= 0) {
        return {n_trained, false};
    }
    // A cache that cannot grow is resident as soon as it is made: an automatic size takes a quarter of
    // the memory at most. One that grows needs its size twice, while it moves for the last time.
    const double share = model.memory_class() == MemoryClass::full ? 0.5 : 0.25;
    const auto n_affordable = static_cast<int64_t>(static_cast<double>(available) * share / token_bytes);
    const int64_t n_ctx = std::max<int64_t>(cell_padding, n_affordable / cell_padding * cell_padding);
    return n_ctx < n_trained ? ContextSize{n_ctx, true} : ContextSize{n_trained, false};
}

// Sequence ids beside those that run, for pasts that are kept.
int32_t n_kept_sequences(const Model& model) {
    // Where a sequence costs a state or a window of its own, few; else they cost nothing but cells.
    return model.memory_class() == MemoryClass::full ? 24 : 4;
}

int32_t n_cells_at_start(const Model& model, const EngineConfig& config) {
    if (model.memory_class() != MemoryClass::full) {
        return config.n_cells;  // its state cannot be moved into one of another size
    }
    int32_t n_cells = std::max(cells_at_start, padded_cells(config.n_batch));
    // LongRoPE has other factors for contexts longer than the original one (llama_model::get_rope_factors):
    // the first context must be on the same side of that as the last.
    if (config.n_cells > model.n_ctx_original()) {
        n_cells = std::max(n_cells, padded_cells(model.n_ctx_original() + 1));
    }
    return std::min(n_cells, config.n_cells);
}

// Rows of logits in a step: one a request, more with guesses, and for texts that are scored as many as fit
// into a little memory. llama.cpp aborts below the number of sequences.
int32_t n_rows(const Model& model, const EngineConfig& config) {
    constexpr int32_t little_memory = 16 << 20;
    const int32_t n_affordable = little_memory / (static_cast<int32_t>(sizeof(float)) * model.n_vocab());
    const int32_t n_guessing = config.n_parallel * (1 + config.options.prompt_lookup);
    return std::min(config.n_batch, std::max({config.n_sequences, n_guessing, n_affordable}));
}

}  // namespace

int32_t padded_cells(int32_t n_cells) {
    return (n_cells + cell_padding - 1) / cell_padding * cell_padding;
}

namespace {

// By default half as much as the full KV cache, but no more than an eighth of the memory that is free.
size_t n_parked_bytes(const Model& model, const EngineConfig& config) {
    const EngineOptions& options = config.options;
    if (options.cache_ram != -1) {
        check_between("cache_ram", options.cache_ram, 0, std::numeric_limits<int64_t>::max());
        return static_cast<size_t>(options.cache_ram);
    }
    const double cache =
        model.kv_bytes_per_token(options.cache_type_k, options.cache_type_v) * config.n_cells / 2;
    const int64_t available = machine::available_memory();
    return static_cast<size_t>(available < 0 ? cache : std::min(cache, static_cast<double>(available) / 8));
}

}  // namespace

EngineConfig resolve_config(const Model& model, const EngineOptions& options) {
    check_between("n_parallel", options.n_parallel, 1, static_cast<int64_t>(llama_max_parallel_sequences()));
    if (options.n_threads != -1) {
        check_between("n_threads", options.n_threads, 1, GGML_MAX_N_THREADS);
    }
    check_between("stream_slowdown", options.stream_slowdown, 1, 1000);
    check_between("prompt_lookup", options.prompt_lookup, 0, most_guesses);
    if (options.prompt_lookup > 0 && model.memory_class() != MemoryClass::full) {
        throw Error(ErrorKind::invalid_argument,
                    "prompt_lookup needs a memory that can go back, and this model's cannot");
    }
    const ContextSize size = context_size(model, options);
    EngineConfig config{};
    config.options = options;
    config.n_ctx = static_cast<int32_t>(size.n_ctx);
    config.is_n_ctx_capped = size.is_capped;
    config.n_cells = padded_cells(config.n_ctx);
    config.n_parallel = options.n_parallel;
    config.n_sequences = std::min<int32_t>(static_cast<int32_t>(llama_max_parallel_sequences()),
                                           config.n_parallel + n_kept_sequences(model));
    config.n_threads = options.n_threads == -1 ? machine::usable_cores() : options.n_threads;
    config.n_batch = std::max(std::min(most_tokens_per_step, config.n_cells), config.n_sequences);
    config.n_rows = n_rows(model, config);
    config.n_parked_bytes = n_parked_bytes(model, config);
    config.n_cells_at_start = n_cells_at_start(model, config);
    return config;
}

}  // namespace tea
