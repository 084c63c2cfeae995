#include "llama/decoder.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include "base/check.hpp"
#include "llama/abort_guard.hpp"
#include "llama/log.hpp"
#include "machine/machine.hpp"

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

llama_context_params context_params(const EngineConfig& config, int32_t n_cells) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<uint32_t>(n_cells);
    params.n_batch = static_cast<uint32_t>(config.n_batch);
    // One step is one ubatch, and happens wholly or not at all, but with recurrent states.
    params.n_ubatch = params.n_batch;
    params.n_seq_max = static_cast<uint32_t>(config.n_sequences);
    params.n_outputs_max = static_cast<uint32_t>(config.n_rows);
    params.rope_scaling_type = rope_scaling_type(config.options.rope_scaling);
    params.flash_attn_type = flash_attn_type(config.options.flash_attn);
    params.type_k = ggml_type_of(config.options.cache_type_k);
    params.type_v = ggml_type_of(config.options.cache_type_v);
    params.kv_unified = true;
    params.swa_full = false;
    params.no_perf = true;
    return params;
}

Decoder::Decoder(std::shared_ptr<const Model> model, const EngineConfig& config,
                 ggml_abort_callback should_abort, void* user_data)
    : model_(std::move(model)),
      config_(config),
      should_abort_(should_abort),
      user_data_(user_data),
      budget_(config.n_threads, config.options.n_threads == -1),
      threads_(config.n_threads) {
    make_context(config.n_cells_at_start);
}

void Decoder::make_context(int32_t n_cells) {
    llama_context_params params = context_params(config_, n_cells);
    params.abort_callback = should_abort_;
    params.abort_callback_data = user_data_;

    const runtime::LogCapture capture;
    const runtime::AbortGuard guard;
    llama_context_ptr context;
    llama_batch_ext_ptr batch;
    try {
        context.reset(llama_init_from_model(model_->handle(), params));
        guard.check();
        if (!context) {
            throw Error(ErrorKind::inference,
                        "no context of " + std::to_string(n_cells) +
                            " cells could be made: " + capture.last_lines("llama.cpp gave no reason"));
        }
        threads_.attach(context.get());
        batch.reset(llama_batch_ext_init(context.get()));
        guard.check();
    } catch (const runtime::Aborted&) {
        (void)context.release();  // in an unknown state: leaked
        throw;
    }
    batch_ = std::move(batch);  // before the context that the old one belongs to goes
    context_ = std::move(context);
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
    threads_.resize(context_.get(), budget_.begin_step());
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
    budget_.end_step();
    runtime::expect_errors(false);  // should_abort() may have said otherwise
    guard.check();
    switch (code) {  // llama.h, llama_decode
        case 0:
            threads_.free_retired();
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

void Decoder::trim(int32_t sequence, int32_t n_kept) {
    const runtime::AbortGuard guard;
    llama_memory_seq_rm(memory(), sequence, n_kept == 0 ? -1 : n_kept, -1);
    guard.check();
}

bool Decoder::copy(int32_t from, int32_t to, int32_t n) {
    if (n > n_shareable()) {
        return false;
    }
    const runtime::AbortGuard guard;
    // A recurrent state is copied whole: can_resume() has seen to it that n is all there is.
    const bool is_whole = model_->memory_class() == MemoryClass::recurrent;
    llama_memory_seq_cp(memory(), from, to, is_whole ? -1 : 0, is_whole ? -1 : n);
    guard.check();
    return true;
}

int32_t Decoder::n_shareable() const {
    if (model_->memory_class() != MemoryClass::windowed) {
        return std::numeric_limits<int32_t>::max();
    }
    // llama_kv_cache_iswa's size for the layers with a window.
    return std::min(config_.n_cells, padded_cells(model_->n_swa() * config_.n_sequences + config_.n_batch)) /
           4 * 3;
}

void Decoder::merge_beginning(int32_t from, int32_t to, int32_t n) {
    const runtime::AbortGuard guard;
    llama_memory_seq_rm(memory(), to, 0, n);
    llama_memory_seq_cp(memory(), from, to, 0, n);
    guard.check();
}

bool Decoder::can_resume(int32_t sequence, int32_t n_held, int32_t n_kept) const {
    switch (model_->memory_class()) {
        case MemoryClass::full:
            return true;
        case MemoryClass::windowed:
            // The window before n_kept must still be there.
            return n_kept == n_held ||
                   llama_memory_seq_pos_min(memory(), sequence) <= std::max(0, n_kept - model_->n_swa());
        case MemoryClass::recurrent:
            return n_kept == n_held;
        case MemoryClass::none:
            break;
    }
    return false;
}

void Decoder::clear_memory() {
    llama_memory_clear(memory(), /*data=*/false);
}

bool Decoder::grow(int32_t n_cells) {
    const double cell_bytes = static_cast<double>(config_.cache_bytes) / config_.n_cells;
    const runtime::AbortGuard guard;
    const size_t n_bytes = llama_state_get_size(context_.get());
    const int64_t available = machine::available_memory();
    if (available >= 0 &&
        n_cells * cell_bytes + static_cast<double>(n_bytes) > static_cast<double>(available)) {
        return false;
    }
    std::vector<uint8_t> state;
    try {
        state.resize(n_bytes);
    } catch (const std::bad_alloc&) {
        return false;
    }
    state.resize(llama_state_get_data(context_.get(), state.data(), state.size()));
    guard.check();
    llama_context_ptr old_context = std::move(context_);
    llama_batch_ext_ptr old_batch = std::move(batch_);
    try {
        make_context(n_cells);
        const size_t n_read = llama_state_set_data(context_.get(), state.data(), state.size());
        guard.check();
        if (n_read == state.size()) {
            return true;
        }
    } catch (const runtime::Aborted&) {
        (void)old_context.release();  // leaked, as this object will be
        throw;
    } catch (const Error&) {
        // no memory: its message is in the log
    } catch (const std::bad_alloc&) {
        // nor for what belongs to it
    }
    batch_ = std::move(old_batch);
    context_ = std::move(old_context);
    return false;
}

size_t Decoder::state_size(int32_t sequence) {
    const runtime::AbortGuard guard;
    const size_t n_bytes = llama_state_seq_get_size(context_.get(), sequence);
    guard.check();
    return n_bytes;
}

std::vector<uint8_t> Decoder::save(int32_t sequence) {
    std::vector<uint8_t> state(state_size(sequence));
    const runtime::AbortGuard guard;
    state.resize(llama_state_seq_get_data(context_.get(), state.data(), state.size(), sequence));
    guard.check();
    return state;
}

bool Decoder::restore(int32_t sequence, int32_t n_tokens, const std::vector<uint8_t>& state) {
    const runtime::LogCapture capture;
    const runtime::AbortGuard guard;
    const size_t n_read = llama_state_seq_set_data(context_.get(), state.data(), state.size(), sequence);
    guard.check();
    // llama.cpp does not check positions: the last one must be that of the last token, and where every
    // position is kept, the first one that of the first.
    const bool begins_right = !keeps_everything() || llama_memory_seq_pos_min(memory(), sequence) == 0;
    if (n_read == state.size() && begins_right &&
        llama_memory_seq_pos_max(memory(), sequence) == n_tokens - 1) {
        return true;
    }
    trim(sequence, 0);
    return false;
}

void Decoder::audit(const SequencePool& pool) {
    pool.audit();
    for (int32_t id = 0; id < pool.n_sequences(); ++id) {
        const auto n_held = static_cast<int32_t>(pool.tokens(id).size());
        const int32_t last = llama_memory_seq_pos_max(memory(), id);
        if (last != n_held - 1) {
            throw std::logic_error("sequence " + std::to_string(id) + " holds " + std::to_string(n_held) +
                                   " tokens, and its last position is " + std::to_string(last));
        }
    }
    if (model_->memory_class() == MemoryClass::recurrent) {
        return;  // it has no cells to count
    }
    // llama.cpp does not tell how many cells are used, but a saved state begins with that number, after
    // the name of the architecture and the number of streams.
    std::vector<uint8_t> state(llama_state_get_size(context_.get()));
    llama_state_get_data(context_.get(), state.data(), state.size());
    uint32_t n_name = 0;
    uint32_t n_used = 0;
    std::memcpy(&n_name, state.data(), sizeof n_name);
    std::memcpy(&n_used, state.data() + sizeof n_name + n_name + sizeof n_used, sizeof n_used);
    if (static_cast<int32_t>(n_used) != pool.n_cells() - pool.n_free_cells()) {
        throw std::logic_error("the KV cache uses " + std::to_string(n_used) + " cells, not " +
                               std::to_string(pool.n_cells() - pool.n_free_cells()));
    }
}

}  // namespace tea
