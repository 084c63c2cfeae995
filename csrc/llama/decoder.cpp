#include "llama/decoder.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <optional>
#include <utility>

#include "ggml.h"
#include "llama.h"
#include "llama/backend_modules.hpp"
#include "llama/context_params.hpp"
#include "llama/log.hpp"
#include "machine/machine.hpp"

namespace tea {

namespace {

using runtime::Guard;
using runtime::guarded;

static_assert(max_threads == GGML_MAX_N_THREADS);

llama_memory_t memory_of(const Guard& guard, const Handle<llama_context>& context) {
    return llama_get_memory(context.get(guard));
}

// Ranks of a state's cells follow it (backend_modules::CellCopies), and at the end their number.
size_t ranks_size(size_t n_ranks) {
    return (n_ranks + 1) * sizeof(uint32_t);
}

void append_ranks(std::vector<uint8_t>& state, const std::vector<uint32_t>& ranks) {
    const auto n = static_cast<uint32_t>(ranks.size());
    const size_t n_state = state.size();
    state.resize(n_state + ranks_size(n));
    std::copy_n(reinterpret_cast<const uint8_t*>(ranks.data()), n * sizeof n, state.data() + n_state);
    std::memcpy(state.data() + state.size() - sizeof n, &n, sizeof n);
}

// Nothing: no such state.
std::optional<std::vector<uint32_t>> ranks_behind(const std::vector<uint8_t>& state) {
    uint32_t n = 0;
    if (state.size() < sizeof n) {
        return std::nullopt;
    }
    std::memcpy(&n, state.data() + state.size() - sizeof n, sizeof n);
    if (ranks_size(n) > state.size()) {
        return std::nullopt;
    }
    std::vector<uint32_t> ranks(n);
    std::copy_n(state.end() - static_cast<ptrdiff_t>(ranks_size(n)), n * sizeof n,
                reinterpret_cast<uint8_t*>(ranks.data()));
    return ranks;
}

}  // namespace

int32_t padded_cells(int32_t n_cells) {
    return (n_cells + cell_padding - 1) / cell_padding * cell_padding;
}

std::string state_format(const DecoderOptions& options) {
    return guarded(ErrorKind::inference, "naming types", [&](const Guard&) {
        return "format " + std::to_string(LLAMA_STATE_SEQ_VERSION) + ", keys " +
               ggml_type_name(ggml_type_of(options.cache_type_k)) + ", values " +
               ggml_type_name(ggml_type_of(options.cache_type_v)) + ", flash attention " +
               std::to_string(static_cast<int>(options.flash_attn)) + ", RoPE scaling " +
               std::to_string(static_cast<int>(options.rope_scaling));
    });
}

Decoder::Decoder(std::shared_ptr<const Model> model, const DecoderOptions& options,
                 bool (*should_abort)(void*), void* user_data)
    : model_(std::move(model)),
      options_(options),
      should_abort_(should_abort),
      user_data_(user_data),
      budget_(options.n_threads, options.adapts_threads),
      threads_(options.n_threads) {
    make_context(options.n_cells_at_start);
}

Handle<llama_context> Decoder::new_context(const Guard& guard, int32_t n_cells) const {
    llama_context_params params = context_params(options_, n_cells);
    params.abort_callback = should_abort_;
    params.abort_callback_data = user_data_;
    const runtime::LogCapture capture;
    Handle<llama_context> context(llama_init_from_model(model_->handle(guard), params));
    if (!context) {
        throw Error(ErrorKind::inference,
                    "no context of " + std::to_string(n_cells) +
                        " cells could be made: " + capture.last_lines("llama.cpp gave no reason"));
    }
    return context;
}

void Decoder::make_context(int32_t n_cells) {
    Handle<llama_context> context;
    Handle<llama_batch_ext> batch;
    try {
        guarded(ErrorKind::inference, "making a context", [&](const Guard& guard) {
            context = new_context(guard, n_cells);
            threads_.attach(context);
            batch = Handle<llama_batch_ext>(llama_batch_ext_init(context.get(guard)));
        });
    } catch (const runtime::Aborted&) {
        context.leak();  // in an unknown state
        throw;
    }
    batch_ = std::move(batch);  // before the context that the old one belongs to goes
    context_ = std::move(context);
}

void Decoder::clear_batch() {
    guarded(ErrorKind::inference, "emptying a batch",
            [&](const Guard& guard) { llama_batch_ext_clear(batch_.get(guard)); });
}

int32_t Decoder::add(int32_t token, int32_t sequence, int32_t position, bool wants_logits) {
    return guarded(ErrorKind::inference, "filling a batch", [&](const Guard& guard) {
        llama_batch_ext* batch = batch_.get(guard);
        const int32_t index = llama_batch_ext_add_token(batch, sequence, token);
        if (index < 0) {  // -1 full, -2 bad token, -3 bad sequence
            throw Error(ErrorKind::inference, "token " + std::to_string(token) + " of sequence " +
                                                  std::to_string(sequence) +
                                                  " was refused: " + std::to_string(index));
        }
        llama_batch_ext_set_pos(batch, index, &position);
        llama_batch_ext_set_output_logits(batch, index, wants_logits);
        return index;
    });
}

Decoder::Status Decoder::run() {
    threads_.resize(context_, budget_.begin_step());
    const int32_t code = guarded(ErrorKind::inference, "computing a step", [&](const Guard& guard) {
        try {
            const int32_t result =
                llama_process(context_.get(guard), LLAMA_PROCESS_TYPE_DECODE, batch_.get(guard));
            llama_synchronize(context_.get(guard));
            return result;
        } catch (const runtime::Aborted&) {
            throw;
        } catch (const std::exception&) {
            return -3;  // llama_process throws when a graph's buffers cannot be had
        }
    });
    budget_.end_step();
    runtime::expect_errors(false);  // should_abort() may have said otherwise
    switch (code) {                 // llama.h, llama_decode
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
    float* row = guarded(ErrorKind::inference, "reading logits", [&](const Guard& guard) {
        return llama_get_logits_ith(context_.get(guard), batch_index);
    });
    if (row == nullptr) {
        throw Error(ErrorKind::inference,
                    "llama.cpp has no logits for batch index " + std::to_string(batch_index));
    }
    return row;
}

void Decoder::trim(int32_t sequence, int32_t n_kept) {
    guarded(ErrorKind::inference, "removing cells", [&](const Guard& guard) {
        llama_memory_seq_rm(memory_of(guard, context_), sequence, n_kept == 0 ? -1 : n_kept, -1);
    });
}

bool Decoder::copy(int32_t from, int32_t to, int32_t n) {
    if (n > n_shareable()) {
        return false;
    }
    // A recurrent state is copied whole: can_resume() made sure that n covers all of it.
    const bool is_whole = model_->memory_class() == MemoryClass::recurrent;
    guarded(ErrorKind::inference, "sharing cells", [&](const Guard& guard) {
        llama_memory_seq_cp(memory_of(guard, context_), from, to, is_whole ? -1 : 0, is_whole ? -1 : n);
    });
    return true;
}

int32_t Decoder::n_shareable() const {
    if (model_->memory_class() != MemoryClass::windowed) {
        return std::numeric_limits<int32_t>::max();
    }
    // llama_kv_cache_iswa's size for the layers with a window.
    const int32_t n_window = padded_cells(model_->n_swa() * options_.n_sequences + options_.n_batch);
    return std::min(options_.n_cells, n_window) / 4 * 3;
}

void Decoder::merge_beginning(int32_t from, int32_t to, int32_t n) {
    guarded(ErrorKind::inference, "sharing cells", [&](const Guard& guard) {
        llama_memory_seq_rm(memory_of(guard, context_), to, 0, n);
        llama_memory_seq_cp(memory_of(guard, context_), from, to, 0, n);
    });
}

bool Decoder::can_resume(int32_t sequence, int32_t n_held, int32_t n_kept) const {
    switch (model_->memory_class()) {
        case MemoryClass::full:
            return true;
        case MemoryClass::windowed:
            // The window before n_kept must still be there.
            return n_kept == n_held || first_position(sequence) <= std::max(0, n_kept - model_->n_swa());
        case MemoryClass::recurrent:
            return n_kept == n_held;
        case MemoryClass::none:
            break;
    }
    return false;
}

int32_t Decoder::first_position(int32_t sequence) const {
    return guarded(ErrorKind::inference, "asking for positions", [&](const Guard& guard) {
        return llama_memory_seq_pos_min(memory_of(guard, context_), sequence);
    });
}

int32_t Decoder::last_position(int32_t sequence) const {
    return guarded(ErrorKind::inference, "asking for positions", [&](const Guard& guard) {
        return llama_memory_seq_pos_max(memory_of(guard, context_), sequence);
    });
}

void Decoder::clear_memory() {
    guarded(ErrorKind::inference, "emptying the KV cache",
            [&](const Guard& guard) { llama_memory_clear(memory_of(guard, context_), /*data=*/true); });
}

size_t Decoder::state_size() const {
    return guarded(ErrorKind::inference, "measuring the KV cache",
                   [&](const Guard& guard) { return llama_state_get_size(context_.get(guard)); });
}

void Decoder::read_state(std::vector<uint8_t>& state) const {
    state.resize(guarded(ErrorKind::inference, "saving the KV cache", [&](const Guard& guard) {
        return llama_state_get_data(context_.get(guard), state.data(), state.size());
    }));
}

bool Decoder::grow(int32_t n_cells) {
    const double cell_bytes = static_cast<double>(options_.cache_bytes) / options_.n_cells;
    const size_t n_bytes = state_size();
    const int64_t available = machine::available_memory();
    if (available >= 0 &&
        n_cells * cell_bytes + static_cast<double>(n_bytes) > static_cast<double>(available)) {
        return false;
    }
    std::vector<uint8_t> state;
    std::vector<uint32_t> ranks;
    try {
        state.resize(n_bytes);
        const backend_modules::CellCopies copies;
        read_state(state);
        ranks = copies.ranks_of_read();
    } catch (const std::bad_alloc&) {
        return false;
    }
    Handle<llama_context> old_context = std::move(context_);
    Handle<llama_batch_ext> old_batch = std::move(batch_);
    try {
        make_context(n_cells);
        const backend_modules::CellCopies copies(ranks);
        const size_t n_read = guarded(ErrorKind::inference, "filling the KV cache", [&](const Guard& guard) {
            return llama_state_set_data(context_.get(guard), state.data(), state.size());
        });
        if (n_read == state.size()) {
            return true;
        }
    } catch (const runtime::Aborted&) {
        old_context.leak();  // as this object will be
        throw;
    } catch (const Error&) {
        // no memory: its message is in the log
    } catch (const std::bad_alloc&) {
        // no memory for the objects around it
    }
    batch_ = std::move(old_batch);
    context_ = std::move(old_context);
    return false;
}

size_t Decoder::state_size(int32_t sequence) {
    const size_t n_state = guarded(ErrorKind::inference, "measuring a sequence", [&](const Guard& guard) {
        return llama_state_seq_get_size(context_.get(guard), sequence);
    });
    return n_state + ranks_size(static_cast<size_t>(last_position(sequence) + 1));
}

std::vector<uint8_t> Decoder::save(int32_t sequence) {
    std::vector<uint8_t> state(state_size(sequence));  // there is room for the ranks, too
    const backend_modules::CellCopies copies;
    state.resize(guarded(ErrorKind::inference, "saving a sequence", [&](const Guard& guard) {
        return llama_state_seq_get_data(context_.get(guard), state.data(), state.size(), sequence);
    }));
    if (!state.empty()) {
        append_ranks(state, copies.ranks_of_read());
    }
    return state;
}

bool Decoder::restore(int32_t sequence, int32_t n_tokens, const std::vector<uint8_t>& state) {
    const std::optional<std::vector<uint32_t>> ranks = ranks_behind(state);
    if (!ranks) {
        return false;
    }
    const size_t n_state = state.size() - ranks_size(ranks->size());
    const backend_modules::CellCopies copies(*ranks);
    const runtime::LogCapture capture;
    const size_t n_read = guarded(ErrorKind::inference, "restoring a sequence", [&](const Guard& guard) {
        return llama_state_seq_set_data(context_.get(guard), state.data(), n_state, sequence);
    });
    // llama.cpp does not check positions: the last one must be that of the last token, and where every
    // position is kept, the first one that of the first.
    const bool begins_right = !keeps_everything() || first_position(sequence) == 0;
    if (n_read == n_state && begins_right && last_position(sequence) == n_tokens - 1) {
        return true;
    }
    trim(sequence, 0);
    return false;
}

int32_t Decoder::n_used_cells() const {
    // llama.cpp does not tell, but a saved state begins with that number, after the name of the architecture
    // and the number of streams.
    std::vector<uint8_t> state(state_size());
    read_state(state);
    uint32_t n_name = 0;
    uint32_t n_used = 0;
    std::memcpy(&n_name, state.data(), sizeof n_name);
    std::memcpy(&n_used, state.data() + sizeof n_name + n_name + sizeof n_used, sizeof n_used);
    return static_cast<int32_t>(n_used);
}

}  // namespace tea
