#include <algorithm>
#include <new>
#include <string>

#include "base/error.hpp"
#include "engine/engine_loop.hpp"
#include "llama/log.hpp"

namespace tea {

namespace {

constexpr int32_t worth_parking = 32;   // tokens: others are computed again as fast
constexpr int32_t worth_fetching = 32;  // tokens more than the KV cache has

}  // namespace

// Moves the longest unused pasts out of the KV cache until at most so many cells are idle, and a sequence is
// free for who comes next. What can be had again for little, or shares most of its cells with others, is
// forgotten.
void EngineLoop::park(int32_t n_idle) {
    const auto is_full = [&] {
        return pool_->n_idle_cells() > std::max(0, n_idle) || pool_->n_free_sequences() == 0;
    };
    if (!decoder_->keeps_everything() || !is_full()) {
        return;
    }
    auto idle = pool_->idle_sequences();
    for (; !idle.empty() && is_full(); idle.pop_back()) {
        const int32_t sequence = idle.back();
        const auto n = static_cast<int32_t>(pool_->tokens(sequence).size());
        if (n >= worth_parking && 2 * pool_->n_alone(sequence) >= n &&
            parked_.takes(decoder_->state_size(sequence))) {
            keep_outside(sequence);
        }
        pool_->drop(sequence);
    }
}

// Copies a past out of the KV cache. Where there is no memory for it, it is forgotten: others go on.
void EngineLoop::keep_outside(int32_t sequence) {
    try {
        parked_.put({pool_->tokens(sequence), decoder_->save(sequence)});
    } catch (const std::bad_alloc&) {
        runtime::write_log(runtime::LogLevel::debug, "there was no memory to keep a past of " +
                                                         std::to_string(pool_->tokens(sequence).size()) +
                                                         " tokens");
    }
}

// What there is of this prompt, in the KV cache after it was fetched from elsewhere.
SequencePool::Match EngineLoop::fetch(const Task& task) {
    const auto match = pool_->find(task.tokens());
    const auto parked = parked_.find(task.tokens());
    if (parked.n_common < match.n_cached + worth_fetching) {
        return match;
    }
    SavedPast past = parked_.take(parked.index);  // first: making room may park others
    const auto n = static_cast<int32_t>(past.tokens.size());
    grow_for(pool_->n_pinned_cells() + n);
    make_room(n);
    const bool has_room = pool_->n_free_cells() >= n && pool_->has_room();
    const bool is_there = has_room && load_past(past);
    if (!has_room || (is_there && parked.n_common < n)) {
        parked_.put(std::move(past));  // somebody else may go on from its end
    }
    return pool_->find(task.tokens());
}

// Frees so many cells of idle ones, as far as there are any.
void EngineLoop::make_room(int32_t n_cells) {
    park(pool_->n_idle_cells() + pool_->n_free_cells() - n_cells);
    pool_->make_room(n_cells);
}

std::vector<SavedPast> EngineLoop::save_pasts() {
    std::vector<SavedPast> pasts;
    for (const int32_t sequence : pool_->idle_sequences()) {
        SavedPast past{pool_->tokens(sequence), decoder_->save(sequence)};
        if (!past.state.empty()) {
            pasts.push_back(std::move(past));
        }
    }
    pasts.insert(pasts.end(), parked_.all().begin(), parked_.all().end());
    return pasts;
}

int64_t EngineLoop::load_pasts(const std::vector<SavedPast>& pasts) {
    // Others are not forgotten for them, neither now nor by the requests to come.
    const auto n_to_run = config_.n_parallel - static_cast<int32_t>(running_.size());
    const auto n_ids = static_cast<size_t>(std::max(0, pool_->n_free_sequences() - n_to_run));
    const int32_t n_used = pool_->n_cells() - pool_->n_free_cells();
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
        if (static_cast<int32_t>(pasts[i].tokens.size()) <= pool_->n_free_cells()) {
            if (!load_past(pasts[i])) {
                throw Error(ErrorKind::invalid_argument, "llama.cpp refuses the saved state");
            }
            n_loaded += static_cast<int64_t>(pasts[i].tokens.size());
        }
    }
    publish_stats();  // before the caller hears of it
    return n_loaded;
}

// Returns false when llama.cpp does not take it.
bool EngineLoop::load_past(const SavedPast& past) {
    const auto n = static_cast<int32_t>(past.tokens.size());
    const int32_t sequence = pool_->attach({});
    if (!decoder_->restore(sequence, n, past.state)) {
        pool_->drop(sequence);
        return false;
    }
    SequencePool::Match match;
    if (decoder_->keeps_everything()) {
        match = pool_->find(past.tokens);
    }
    if (match.n_cached > 0) {  // what others hold already is held once
        decoder_->merge_beginning(match.sequence, sequence, match.n_cached);
        pool_->share_beginning(sequence, match);
    }
    pool_->extend(sequence, past.tokens.data() + match.n_cached, n - match.n_cached);
    pool_->release(sequence);
    return true;
}

}  // namespace tea
