#include "engine/decoder.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "engine/machine.hpp"
#include "engine/runtime.hpp"

namespace tea {

namespace {

constexpr int32_t n_ctx_unknown = 4096;  // for a model that does not say its trained length
constexpr int32_t most_tokens_per_step = 512;
constexpr int32_t prompt_chunk = 256;  // measured: benchmarks of mixed prompts and streams, notes/field.md
constexpr int32_t cell_padding = 256;  // llama.cpp pads n_ctx to it

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

std::string gigabytes(double bytes) {
    std::string text = std::to_string(bytes / (1 << 30));
    return text.substr(0, text.find('.') + 2) + " GiB";
}

void check_between(const char* name, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
        throw Error(ErrorKind::invalid_argument, std::string(name) + "=" + std::to_string(value) +
                                                     " is not between " + std::to_string(low) + " and " +
                                                     std::to_string(high));
    }
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
    // The whole cache becomes resident when it is made: an automatic size takes a quarter at most.
    const auto n_affordable = static_cast<int64_t>(static_cast<double>(available) / 4 / token_bytes);
    const int64_t n_ctx = std::max<int64_t>(cell_padding, n_affordable / cell_padding * cell_padding);
    return n_ctx < n_trained ? ContextSize{n_ctx, true} : ContextSize{n_trained, false};
}

}  // namespace

EngineConfig resolve_config(const Model& model, const EngineOptions& options) {
    check_between("n_parallel", options.n_parallel, 1, static_cast<int64_t>(llama_max_parallel_sequences()));
    if (options.n_threads != -1) {
        check_between("n_threads", options.n_threads, 1, GGML_MAX_N_THREADS);
    }
    const ContextSize size = context_size(model, options);
    EngineConfig config{};
    config.options = options;
    config.n_ctx = static_cast<int32_t>(size.n_ctx);
    config.is_n_ctx_capped = size.is_capped;
    config.n_cells = (config.n_ctx + cell_padding - 1) / cell_padding * cell_padding;
    config.n_parallel = options.n_parallel;
    config.n_threads = options.n_threads == -1 ? machine::usable_cores() : options.n_threads;
    config.n_batch = std::max(std::min(most_tokens_per_step, config.n_cells), config.n_parallel);
    config.n_prompt_chunk = std::min(prompt_chunk, config.n_batch);
    return config;
}

Decoder::Decoder(std::shared_ptr<const Model> model, const EngineConfig& config,
                 ggml_abort_callback should_abort, void* user_data)
    : model_(std::move(model)) {
    const auto n_batch = static_cast<uint32_t>(config.n_batch);
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<uint32_t>(config.n_cells);
    params.n_batch = n_batch;
    params.n_ubatch = n_batch;  // one step is one ubatch: it happens wholly or not at all
    params.n_seq_max = static_cast<uint32_t>(config.n_parallel);
    params.n_outputs_max = static_cast<uint32_t>(config.n_parallel);  // one row a sequence, never more
    params.n_threads = config.n_threads;
    params.n_threads_batch = config.n_threads;
    params.rope_scaling_type = rope_scaling_type(config.options.rope_scaling);
    params.flash_attn_type = flash_attn_type(config.options.flash_attn);
    params.type_k = ggml_type_of(config.options.cache_type_k);
    params.type_v = ggml_type_of(config.options.cache_type_v);
    params.abort_callback = should_abort;
    params.abort_callback_data = user_data;
    params.kv_unified = true;
    params.swa_full = false;
    params.no_perf = true;

    const runtime::LogCapture capture;
    const runtime::AbortGuard guard;
    try {
        threadpool_ = make_threadpool(config.n_threads);
        context_.reset(llama_init_from_model(model_->handle(), params));
        guard.check();
        if (!context_) {
            throw Error(ErrorKind::inference,
                        "no context of " + std::to_string(config.n_cells) +
                            " cells could be made: " + capture.last_lines("llama.cpp gave no reason"));
        }
        llama_attach_threadpool(context_.get(), threadpool_.get(), threadpool_.get());
        batch_.reset(llama_batch_ext_init(context_.get()));
        guard.check();
    } catch (const runtime::Aborted&) {
        (void)context_.release();  // in an unknown state: leaked
        throw;
    }
}

int32_t Decoder::add(int32_t token, int32_t sequence, int32_t position, bool wants_logits) {
    const int32_t index = llama_batch_ext_add_token(batch_.get(), sequence, token);
    if (index < 0) {  // -1 full, -2 bad token, -3 bad sequence
        throw Error(ErrorKind::inference, "token " + std::to_string(token) + " of sequence " +
                                              std::to_string(sequence) +
                                              " was refused: " + std::to_string(index));
    }
    llama_batch_ext_set_pos(batch_.get(), index, &position);
    llama_batch_ext_set_output_logits(batch_.get(), index, wants_logits);
    return index;
}

Decoder::Status Decoder::run() {
    const runtime::AbortGuard guard;
    int32_t code = -3;
    try {
        code = llama_process(context_.get(), LLAMA_PROCESS_TYPE_DECODE, batch_.get());
        llama_synchronize(context_.get());
    } catch (const runtime::Aborted&) {
        throw;
    } catch (const std::exception&) {
        code = -3;  // llama_process throws when a graph's buffers cannot be had
    }
    guard.check();
    switch (code) {  // llama.h, llama_decode
        case 0:
            return Status::ok;
        case 1:  // could not find a KV slot for the batch
            return Status::no_slot;
        case 2:  // aborted
            return Status::aborted;
        default:  // -1 invalid batch, below: allocation or computation failed
            return Status::failed;
    }
}

float* Decoder::logits(int32_t batch_index) {
    const runtime::AbortGuard guard;
    float* row = llama_get_logits_ith(context_.get(), batch_index);
    guard.check();
    if (row == nullptr) {
        throw Error(ErrorKind::inference,
                    "llama.cpp has no logits for batch index " + std::to_string(batch_index));
    }
    return row;
}

void Decoder::keep(int32_t sequence, int32_t n_kept) {
    llama_memory_seq_rm(llama_get_memory(context_.get()), sequence, n_kept == 0 ? -1 : n_kept, -1);
}

bool Decoder::can_resume(int32_t sequence, int32_t n_held, int32_t n_kept) const {
    switch (model_->memory_class()) {
        case MemoryClass::full:
            return true;
        case MemoryClass::windowed:
            // The window before n_kept must still be there.
            return n_kept == n_held || llama_memory_seq_pos_min(llama_get_memory(context_.get()), sequence) <=
                                           std::max(0, n_kept - model_->n_swa());
        case MemoryClass::recurrent:
            return n_kept == n_held;
        case MemoryClass::none:
            break;
    }
    return false;
}

void Decoder::clear_memory() {
    llama_memory_clear(llama_get_memory(context_.get()), /*data=*/false);
}

}  // namespace tea
