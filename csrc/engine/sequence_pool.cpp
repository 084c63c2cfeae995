#include "engine/sequence_pool.hpp"

#include <algorithm>
#include <utility>

namespace tea {

namespace {

int32_t common_prefix(const std::vector<int32_t>& a, const std::vector<int32_t>& b, size_t n_most) {
    const size_t n = std::min({a.size(), b.size(), n_most});
    const auto end = a.begin() + static_cast<std::ptrdiff_t>(n);
    return static_cast<int32_t>(std::mismatch(a.begin(), end, b.begin()).first - a.begin());
}

}  // namespace

SequencePool::SequencePool(int32_t n_sequences, int32_t n_cells, Removed removed, CanResume can_resume)
    : sequences_(static_cast<size_t>(n_sequences)),
      n_cells_(n_cells),
      removed_(std::move(removed)),
      can_resume_(std::move(can_resume)) {}

bool SequencePool::has_room() const {
    return std::any_of(sequences_.begin(), sequences_.end(),
                       [](const Sequence& sequence) { return sequence.state != State::running; });
}

SequencePool::Match SequencePool::best_match(const std::vector<int32_t>& tokens) const {
    Match best;
    for (int32_t id = 0; id < static_cast<int32_t>(sequences_.size()); ++id) {
        const Sequence& sequence = at(id);
        if (sequence.state != State::idle) {
            continue;
        }
        const int32_t n_common = common_prefix(sequence.tokens, tokens, tokens.size() - 1);
        const auto n_held = static_cast<int32_t>(sequence.tokens.size());
        if (n_common > best.n_cached && can_resume_(id, n_held, n_common)) {
            best = {id, n_common};
        }
    }
    return best;
}

int32_t SequencePool::n_attachable(const std::vector<int32_t>& tokens) const {
    return best_match(tokens).n_cached;
}

int32_t SequencePool::least_recently_used() const {
    int32_t oldest = -1;
    for (int32_t id = 0; id < static_cast<int32_t>(sequences_.size()); ++id) {
        if (at(id).state == State::idle && (oldest < 0 || at(id).last_use < at(oldest).last_use)) {
            oldest = id;
        }
    }
    return oldest;
}

SequencePool::Attachment SequencePool::attach(const std::vector<int32_t>& tokens) {
    const auto free = std::find_if(sequences_.begin(), sequences_.end(),
                                   [](const Sequence& sequence) { return sequence.state == State::free; });
    Match match = best_match(tokens);
    // Continuing a sequence cuts off what it held beyond the match. While there are free sequences,
    // that is worth it only when the match is most of what it held.
    const bool is_mostly_kept =
        match.sequence >= 0 && 2 * match.n_cached >= static_cast<int32_t>(at(match.sequence).tokens.size());
    if (free != sequences_.end() && !is_mostly_kept) {
        match = {static_cast<int32_t>(free - sequences_.begin()), 0};
    } else if (match.sequence < 0) {
        match = {least_recently_used(), 0};
    }
    keep(match.sequence, match.n_cached);
    at(match.sequence).state = State::running;
    return {match.sequence, match.n_cached};
}

void SequencePool::extend(int32_t sequence, const int32_t* tokens, int32_t n_new) {
    auto& held = at(sequence).tokens;
    held.insert(held.end(), tokens, tokens + n_new);
    n_used_ += n_new;
}

void SequencePool::release(int32_t sequence) {
    Sequence& released = at(sequence);
    released.state = released.tokens.empty() ? State::free : State::idle;
    released.last_use = ++clock_;
}

void SequencePool::drop(int32_t sequence) {
    keep(sequence, 0);
    at(sequence).state = State::free;
}

void SequencePool::make_room(int32_t n_cells) {
    for (int32_t oldest = least_recently_used(); oldest >= 0 && n_cells_ - n_used_ < n_cells;
         oldest = least_recently_used()) {
        drop(oldest);
    }
}

void SequencePool::clear() {
    for (auto& sequence : sequences_) {
        sequence = Sequence{};
    }
    n_used_ = 0;
}

int32_t SequencePool::n_idle_cells() const {
    int32_t n_idle = 0;
    for (const auto& sequence : sequences_) {
        n_idle += sequence.state == State::idle ? static_cast<int32_t>(sequence.tokens.size()) : 0;
    }
    return n_idle;
}

int32_t SequencePool::n_held(int32_t sequence) const {
    return static_cast<int32_t>(at(sequence).tokens.size());
}

void SequencePool::keep(int32_t sequence, int32_t n_kept) {
    auto& held = at(sequence).tokens;
    const auto n_held = static_cast<int32_t>(held.size());
    if (n_kept < n_held) {
        removed_(sequence, n_kept);
        held.resize(static_cast<size_t>(n_kept));
        n_used_ -= n_held - n_kept;
    }
}

}  // namespace tea
