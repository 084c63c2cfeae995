#include "engine/memory.hpp"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "llama/log.hpp"

namespace tea {

namespace {

constexpr int32_t worth_parking = 32;   // tokens: others are computed again as fast
constexpr int32_t worth_fetching = 32;  // tokens more than the KV cache has

}  // namespace

Memory::Memory(std::shared_ptr<const Model> model, const EngineConfig& config, bool (*should_abort)(void*),
               void* user_data)
    : model_(std::move(model)),
      config_(config),
      decoder_(std::make_unique<Decoder>(model_, config, should_abort, user_data)),
      pool_(config.n_sequences, config.n_cells_at_start, *decoder_),
      parked_(config.n_parked_bytes),
      can_grow_(config.n_cells_at_start < config.n_cells) {}

void Memory::grow_for(int32_t n_cells) {
    const int64_t n_wanted = std::min<int64_t>(2 * int64_t{n_cells}, config_.n_cells);
    if (!can_grow_ || n_wanted <= pool_.n_cells()) {
        return;
    }
    int64_t n_new = pool_.n_cells();
    while (n_new < n_wanted) {
        n_new *= 2;
    }
    const auto n_grown = static_cast<int32_t>(std::min<int64_t>(n_new, config_.n_cells));
    if (decoder_->grow(n_grown)) {
        pool_.grow(n_grown);
        runtime::write_log(runtime::LogLevel::debug,
                           "the KV cache has " + std::to_string(n_grown) + " cells now");
    } else {
        runtime::write_log(runtime::LogLevel::warning, "there is no memory for a KV cache of more than " +
                                                           std::to_string(pool_.n_cells()) + " cells");
    }
    can_grow_ = pool_.n_cells() == n_grown && n_grown < config_.n_cells;
}

// Moves the longest unused pasts out of the KV cache until at most n_idle cells are idle and a sequence is
// free for the next request. Short pasts, and those that share most of their cells with others, are
// forgotten.
void Memory::park(int32_t n_idle) {
    const auto is_full = [&] {
        return pool_.n_idle_cells() > std::max(0, n_idle) || pool_.n_free_sequences() == 0;
    };
    if (!decoder_->keeps_everything() || !is_full()) {
        return;
    }
    auto idle = pool_.idle_sequences();
    for (; !idle.empty() && is_full(); idle.pop_back()) {
        const int32_t sequence = idle.back();
        const auto n = static_cast<int32_t>(pool_.tokens(sequence).size());
        if (n >= worth_parking && 2 * pool_.n_alone(sequence) >= n &&
            parked_.takes(decoder_->state_size(sequence))) {
            keep_outside(sequence);
        }
        pool_.drop(sequence);
    }
}

// Copies a past out of the KV cache, or forgets it if there is no memory for the copy.
void Memory::keep_outside(int32_t sequence) {
    try {
        parked_.put({pool_.tokens(sequence), decoder_->save(sequence)});
    } catch (const std::bad_alloc&) {
        runtime::write_log(runtime::LogLevel::debug, "there was no memory to keep a past of " +
                                                         std::to_string(pool_.tokens(sequence).size()) +
                                                         " tokens");
    }
}

SequencePool::Match Memory::fetch(const Tokens& tokens) {
    const auto match = pool_.find(tokens);
    const auto parked = parked_.find(tokens);
    if (parked.n_common < match.n_cached + worth_fetching) {
        return match;
    }
    SavedPast past = parked_.take(parked.index);  // first: making room may park others
    const auto n = static_cast<int32_t>(past.tokens.size());
    grow_for(pool_.n_pinned_cells() + n);
    make_room(n);
    const bool has_room = pool_.n_free_cells() >= n && pool_.has_room();
    const bool is_there = has_room && load_past(past);
    if (!has_room || (is_there && parked.n_common < n)) {
        parked_.put(std::move(past));  // another request may continue from its end
    }
    return pool_.find(tokens);
}

void Memory::make_room(int32_t n_cells) {
    park(pool_.n_idle_cells() + pool_.n_free_cells() - n_cells);
    pool_.make_room(n_cells);
}

std::vector<SavedPast> Memory::save_pasts() {
    std::vector<SavedPast> pasts;
    for (const int32_t sequence : pool_.idle_sequences()) {
        SavedPast past{pool_.tokens(sequence), decoder_->save(sequence)};
        if (!past.state.empty()) {
            pasts.push_back(std::move(past));
        }
    }
    pasts.insert(pasts.end(), parked_.all().begin(), parked_.all().end());
    return pasts;
}

int64_t Memory::load_pasts(const std::vector<SavedPast>& pasts, int32_t n_reserved) {
    // No other past is forgotten for them, neither now nor by the requests to come.
    const auto n_ids = static_cast<size_t>(std::max(0, pool_.n_free_sequences() - n_reserved));
    const int32_t n_used = pool_.n_cells() - pool_.n_free_cells();
    int64_t n_tokens = 0;
    size_t n_fitting = 0;
    for (; n_fitting < std::min(pasts.size(), n_ids); ++n_fitting) {
        const auto n = static_cast<int64_t>(pasts[n_fitting].tokens.size());
        if (n_used + n_tokens + n > config_.n_cells) {
            break;
        }
        n_tokens += n;
    }
    grow_for(n_used + static_cast<int32_t>(n_tokens));
    int64_t n_loaded = 0;
    for (size_t i = n_fitting; i-- > 0;) {  // the last used becomes the last used
        if (static_cast<int32_t>(pasts[i].tokens.size()) <= pool_.n_free_cells()) {
            if (!load_past(pasts[i])) {
                throw Error(ErrorKind::invalid_argument, "llama.cpp refuses the saved state");
            }
            n_loaded += static_cast<int64_t>(pasts[i].tokens.size());
        }
    }
    return n_loaded;
}

// Returns false when llama.cpp does not take it.
bool Memory::load_past(const SavedPast& past) {
    const auto n = static_cast<int32_t>(past.tokens.size());
    const int32_t sequence = pool_.attach({});
    if (!decoder_->restore(sequence, n, past.state)) {
        pool_.drop(sequence);
        return false;
    }
    SequencePool::Match match;
    if (decoder_->keeps_everything()) {
        match = pool_.find(past.tokens);
    }
    if (match.n_cached > 0) {  // cells that others hold already are shared
        decoder_->merge_beginning(match.sequence, sequence, match.n_cached);
        pool_.share_beginning(sequence, match);
    }
    pool_.extend(sequence, past.tokens.data() + match.n_cached, n - match.n_cached);
    pool_.release(sequence);
    return true;
}

void Memory::audit() const {
    pool_.audit();
    for (int32_t id = 0; id < pool_.n_sequences(); ++id) {
        const auto n_held = static_cast<int32_t>(pool_.tokens(id).size());
        const int32_t last = decoder_->last_position(id);
        if (last != n_held - 1) {
            throw std::logic_error("sequence " + std::to_string(id) + " holds " + std::to_string(n_held) +
                                   " tokens, and its last position is " + std::to_string(last));
        }
    }
    if (model_->memory_class() == MemoryClass::recurrent) {
        return;  // it has no cells to count
    }
    if (const int32_t n_used = decoder_->n_used_cells(); n_used != pool_.n_cells() - pool_.n_free_cells()) {
        throw std::logic_error("the KV cache uses " + std::to_string(n_used) + " cells, not " +
                               std::to_string(pool_.n_cells() - pool_.n_free_cells()));
    }
}

}  // namespace tea
