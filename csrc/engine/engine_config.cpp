#include "engine/engine_config.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "base/check.hpp"
#include "llama/backend_modules.hpp"
#include "llama/log.hpp"
#include "machine/machine.hpp"

namespace tea {

namespace {

constexpr int32_t n_ctx_unknown = 4096;  // for a model that does not say its trained length
constexpr int32_t max_step_tokens = 512;
constexpr int32_t cells_at_start = 2048;
constexpr int32_t max_guesses = 64;

std::string gigabytes(int64_t bytes) {
    std::string text = std::to_string(static_cast<double>(bytes) / (1 << 30));
    return text.substr(0, text.find('.') + 2) + " GiB";
}

// Sequence ids beside those that run, for pasts that are kept.
int32_t n_kept_sequences(const Model& model) {
    // Where a sequence costs a state or a window of its own, few; else they cost nothing but cells.
    return model.memory_class() == MemoryClass::full ? 24 : 4;
}

int32_t n_cells_at_start(const Model& model, const EngineConfig& config) {
    if (model.memory_class() != MemoryClass::full) {  // it cannot be moved into one of another size
        return config.n_cells;
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
    const int32_t n_affordable =
        little_memory / (static_cast<int32_t>(sizeof(float)) * std::max(1, model.n_vocab()));
    const int32_t n_guessing = config.n_parallel * (1 + config.options.prompt_lookup);
    return std::min(config.n_batch, std::max({config.n_sequences, n_guessing, n_affordable}));
}

void check_options(const Model& model, const EngineOptions& options) {
    if (options.n_ctx != -1) {
        check_between("n_ctx", options.n_ctx, 1, std::numeric_limits<int32_t>::max() - cell_padding);
    }
    check_between("n_parallel", options.n_parallel, 1, max_sequences);
    if (options.n_threads != -1) {
        check_between("n_threads", options.n_threads, 1, max_threads);
    }
    check_between("stream_slowdown", options.stream_slowdown, 1, 1000);
    check_between("prompt_lookup", options.prompt_lookup, 0, max_guesses);
    if (options.prompt_lookup > 0 && model.memory_class() != MemoryClass::full) {
        throw Error(ErrorKind::invalid_argument,
                    "prompt_lookup needs a memory that can go back, and this model's cannot");
    }
}

// Throws if something computes that has no fixed order of summation.
void check_deterministic(const Model& model, const EngineOptions& options) {
    const auto refuse = [](const std::string& reason) {
        throw Error(ErrorKind::invalid_argument, "deterministic=True needs " + reason);
    };
    if (!backend_modules::takes_weights_as_they_are() || !backend_modules::attends()) {
        refuse(
            "the kernels of tea-llm: a CPU with AVX2 and without AMX, and no TEA_LLM_GGML_KERNELS in the "
            "environment");
    }
    if (!model.is_on_cpu()) {
        refuse("n_gpu_layers=0");
    }
    if (options.flash_attn == FlashAttention::off || options.cache_type_k != KvType::f16 ||
        options.cache_type_v != KvType::f16) {
        refuse("flash attention and a KV cache of f16");
    }
    if (model.memory_class() == MemoryClass::recurrent) {
        refuse("a model without a recurrent state");
    }
    if (!model.has_our_attention()) {
        refuse("flash attention with heads whose width is a multiple of 8, at most 576");
    }
}

EngineConfig without_context(const Model& model, const EngineOptions& options) {
    check_options(model, options);
    EngineConfig config{};
    config.options = options;
    config.n_parallel = options.n_parallel;
    config.n_sequences = std::min(max_sequences, config.n_parallel + n_kept_sequences(model));
    config.adapts_threads = options.n_threads == -1;
    config.n_threads = config.adapts_threads ? machine::usable_cores() : options.n_threads;
    config.cache_type_k = options.cache_type_k;
    config.cache_type_v = options.cache_type_v;
    config.flash_attn = options.flash_attn;
    config.rope_scaling = options.rope_scaling;
    return config;
}

// The part that the length of a context decides.
EngineConfig with_context(EngineConfig config, const Model& model, int64_t n_ctx) {
    config.n_ctx = static_cast<int32_t>(n_ctx);
    config.n_cells = padded_cells(config.n_ctx);
    config.n_batch = std::max(std::min(max_step_tokens, config.n_cells), config.n_sequences);
    config.n_step = config.n_batch;
    config.n_rows = n_rows(model, config);
    config.n_cells_at_start = n_cells_at_start(model, config);
    return config;
}

int64_t trained_context(const Model& model) {
    return model.n_ctx_train() > 0 ? model.n_ctx_train() : n_ctx_unknown;
}

// The trained length, as far as memory allows it.
EngineConfig automatic_context(const EngineConfig& config, const Model& model, const FootprintMeter& meter,
                               int64_t available) {
    const int64_t n_trained = trained_context(model);
    const bool grows = model.memory_class() == MemoryClass::full;
    const auto fits = [&](int64_t n_ctx) {
        const Footprint footprint = meter.measure(with_context(config, model, n_ctx));
        const int64_t n_weights = model.is_mapped() ? footprint.plain_weights : 0;
        return footprint.fits_devices && fits_memory(footprint, available, n_weights, grows);
    };
    const int64_t n_ctx_limit =
        available >= 0 || grows ? n_trained : std::min<int64_t>(n_trained, n_ctx_unknown);
    const int64_t n_ctx = largest_fitting(cell_padding, n_ctx_limit, fits);
    EngineConfig chosen = with_context(config, model, n_ctx);
    chosen.is_n_ctx_capped = n_ctx < n_trained;
    return chosen;
}

EngineConfig checked_context(const EngineConfig& config, const Model& model, const FootprintMeter& meter,
                             int64_t available) {
    const int64_t n_ctx = config.options.n_ctx;
    EngineConfig chosen = with_context(config, model, n_ctx);
    const int64_t needed = meter.measure(chosen).cache;
    if (available >= 0 && needed > available) {
        throw Error(ErrorKind::invalid_argument, "n_ctx=" + std::to_string(n_ctx) + " needs a KV cache of " +
                                                     gigabytes(needed) + ", but only " +
                                                     gigabytes(available) + " of memory are free");
    }
    return chosen;
}

// Attention passes over idle cells in every step. What 4,000 of them add to a step of 8 streams of SmolLM2: 2
// % with our kernels, which is less than moving pasts out and in costs; 40 % with quantized caches, 190 %
// without flash attention.
int32_t max_idle_cells(const EngineConfig& config) {
    const EngineOptions& options = config.options;
    const bool is_ours = backend_modules::attends() && options.flash_attn != FlashAttention::off &&
                         options.cache_type_k == KvType::f16 &&
                         options.cache_type_v == KvType::f16;  // docs/adr/0011-own-attention.md
    return is_ours ? config.n_cells : 256;
}

// By default half as much as the full KV cache, but no more than an eighth of the memory that is free.
size_t n_parked_bytes(const EngineConfig& config, int64_t available) {
    const int64_t asked = config.options.cache_ram;
    if (asked != -1) {
        check_between("cache_ram", asked, 0, std::numeric_limits<int64_t>::max());
        return static_cast<size_t>(asked);
    }
    const int64_t half = config.cache_bytes / 2;
    return static_cast<size_t>(available < 0 ? half : std::min(half, available / 8));
}

}  // namespace

EngineConfig resolve_config(const Model& model, const EngineOptions& options) {
    EngineConfig config = without_context(model, options);
    if (options.deterministic) {
        check_deterministic(model, options);
    }
    const int64_t available = machine::available_memory();
    if (model.memory_class() == MemoryClass::none) {
        return with_context(config, model, options.n_ctx == -1 ? trained_context(model) : options.n_ctx);
    }
    try {
        const FootprintMeter meter(model.layout());
        config = options.n_ctx == -1 ? automatic_context(config, model, meter, available)
                                     : checked_context(config, model, meter, available);
        config.cache_bytes = meter.measure(config).cache;
    } catch (const Error& error) {
        if (error.kind == ErrorKind::invalid_argument) {
            throw;
        }
        // llama.cpp does not make such a context: the first request will get its error.
        runtime::write_log(runtime::LogLevel::warning,
                           "how much memory a context takes is not known: " + std::string(error.what()));
        config = with_context(config, model, options.n_ctx == -1 ? n_ctx_unknown : options.n_ctx);
    }
    config.max_idle_cells = max_idle_cells(config);
    config.n_parked_bytes = n_parked_bytes(config, available);
    if (options.deterministic) {
        config.n_step = model.has_our_products() ? config.n_batch : 1;
    }
    return config;
}

Footprint estimate_footprint(const std::string& path, const EngineOptions& options) {
    ModelOptions model;
    model.path = path;
    model.layout_only = true;
    model.n_gpu_layers = 0;
    const runtime::LogCapture quiet(/*is_quiet=*/true);
    const auto layout = Model::load(model, {});
    return FootprintMeter(layout).measure(
        with_context(without_context(*layout, options), *layout, options.n_ctx));
}

}  // namespace tea
