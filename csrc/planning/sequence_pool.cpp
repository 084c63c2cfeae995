#include "planning/sequence_pool.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace tea {

namespace {

// Idle tails are cut to multiples of it, so that not every step has to cut.
constexpr int32_t cut_granularity = 32;

int32_t size_of(const std::vector<int32_t>& tokens) {
    return static_cast<int32_t>(tokens.size());
}

}  // namespace

int32_t common_prefix(const std::vector<int32_t>& a, const std::vector<int32_t>& b, int32_t limit) {
    const int32_t n = std::max(0, std::min({size_of(a), size_of(b), limit}));
    return static_cast<int32_t>(std::mismatch(a.begin(), a.begin() + n, b.begin()).first - a.begin());
}

SequencePool::SequencePool(int32_t n_sequences, int32_t n_cells, SequenceMemory& memory)
    : memory_(memory), sequences_(static_cast<size_t>(n_sequences)) {
    grow(n_cells);
}

SequencePool::Match SequencePool::find(const std::vector<int32_t>& tokens) const {
    Match best;
    for (int32_t id = 0; id < n_sequences(); ++id) {
        const Sequence& sequence = at(id);
        const int32_t n = common_prefix(sequence.tokens, tokens, size_of(tokens) - 1);
        const bool is_better =
            n > best.n_cached ||
            // As good, and taken over as it is.
            (n > 0 && n == best.n_cached && sequence.state == State::idle && n == size_of(sequence.tokens));
        if (is_better && memory_.can_resume(id, size_of(sequence.tokens), n)) {
            best = {id, n, 0};
        }
    }
    for (int32_t i = 0; i < best.n_cached; ++i) {
        best.n_idle += cell(at(best.sequence).cells[static_cast<size_t>(i)]).n_running == 0 ? 1 : 0;
    }
    return best;
}

int32_t SequencePool::n_common(const std::vector<int32_t>& tokens) const {
    int32_t longest = 0;
    for (const auto& sequence : sequences_) {
        longest = std::max(longest, common_prefix(sequence.tokens, tokens, size_of(tokens) - 1));
    }
    return longest;
}

bool SequencePool::has_room() const {
    return std::any_of(sequences_.begin(), sequences_.end(),
                       [](const Sequence& sequence) { return sequence.state != State::running; });
}

int32_t SequencePool::n_free_sequences() const {
    return static_cast<int32_t>(
        std::count_if(sequences_.begin(), sequences_.end(),
                      [](const Sequence& sequence) { return sequence.state == State::free; }));
}

int32_t SequencePool::n_alone(int32_t sequence) const {
    const auto& cells = at(sequence).cells;
    return static_cast<int32_t>(
        std::count_if(cells.begin(), cells.end(), [&](int32_t id) { return cell(id).n_holders == 1; }));
}

int32_t SequencePool::attach(const Match& match) {
    int32_t id = match.sequence;
    const bool is_exact = id >= 0 && at(id).state == State::idle && size_of(at(id).tokens) == match.n_cached;
    // A sequence that is continued at its end loses nothing, unless others can share only its very end.
    if (!is_exact || !memory_.keeps_everything()) {
        id = unused_id(match.sequence);
        const bool is_copied = id >= 0 && share(match.sequence, id, match.n_cached);
        if (is_exact && !is_copied) {
            id = match.sequence;
        } else if (id < 0) {  // nobody else is idle: it loses what follows the match
            id = match.sequence;
            cut(id, match.n_cached);
        }
    }
    if (match.sequence >= 0) {
        at(match.sequence).last_use = ++clock_;
    }
    at(id).state = State::running;
    for (const int32_t held : at(id).cells) {
        n_pinned_ += cell(held).n_running++ == 0 ? 1 : 0;
    }
    return id;
}

void SequencePool::extend(int32_t sequence, const int32_t* tokens, int32_t n_new) {
    if (n_new > n_free_cells()) {
        throw std::logic_error("the KV cache took more tokens than the ledger has free cells");
    }
    Sequence& extended = at(sequence);
    for (int32_t i = 0; i < n_new; ++i) {
        const int32_t id = free_cells_.back();
        free_cells_.pop_back();
        cell(id).n_running = 1;
        ++n_pinned_;
        hold(extended, tokens[i], id);
    }
}

void SequencePool::truncate(int32_t sequence, int32_t n_kept) {
    cut(sequence, n_kept);
}

void SequencePool::checkpoint(int32_t sequence) {
    const int32_t id = unused_id(sequence);
    if (id < 0) {
        return;
    }
    if (share(sequence, id, size_of(at(sequence).tokens))) {
        at(id).state = State::idle;
        at(id).last_use = ++clock_;
    }
}

void SequencePool::share_beginning(int32_t sequence, const Match& match) {
    hold_beginning(match.sequence, sequence, match.n_cached);
    for (const int32_t held : at(sequence).cells) {
        n_pinned_ += cell(held).n_running++ == 0 ? 1 : 0;
    }
}

void SequencePool::release(int32_t sequence) {
    Sequence& released = at(sequence);
    for (const int32_t held : released.cells) {
        n_pinned_ -= --cell(held).n_running == 0 ? 1 : 0;
    }
    released.state = released.tokens.empty() ? State::free : State::idle;
    released.last_use = ++clock_;
    if (memory_.keeps_everything() && released.state == State::idle) {
        drop_duplicates_of(sequence);
    }
}

void SequencePool::drop(int32_t sequence) {
    cut(sequence, 0);
    at(sequence).state = State::free;
}

void SequencePool::make_room(int32_t n_cells) {
    while (n_free_cells() < n_cells) {
        const int32_t oldest = least_recently_used(-1);
        if (oldest < 0) {
            return;
        }
        shrink(oldest, n_cells - n_free_cells());
    }
}

void SequencePool::grow(int32_t n_cells) {
    for (int32_t id = n_cells - 1; id >= this->n_cells(); --id) {
        free_cells_.push_back(id);
    }
    cells_.resize(static_cast<size_t>(n_cells));
}

void SequencePool::clear() {
    const int32_t n = n_cells();
    std::fill(sequences_.begin(), sequences_.end(), Sequence{});
    cells_.clear();
    free_cells_.clear();
    n_pinned_ = 0;
    grow(n);
}

std::vector<int32_t> SequencePool::idle_sequences() const {
    std::vector<int32_t> ids;
    for (int32_t id = 0; id < n_sequences(); ++id) {
        if (at(id).state == State::idle) {
            ids.push_back(id);
        }
    }
    std::sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return at(a).last_use > at(b).last_use; });
    return ids;
}

void SequencePool::audit() const {
    std::vector<Cell> counted(cells_.size());
    for (const auto& sequence : sequences_) {
        if (sequence.cells.size() != sequence.tokens.size() ||
            (sequence.state == State::free && !sequence.tokens.empty())) {
            throw std::logic_error("a sequence holds other cells than its tokens need");
        }
        for (const int32_t id : sequence.cells) {
            Cell& held = counted[static_cast<size_t>(id)];
            ++held.n_holders;
            held.n_running =
                static_cast<int16_t>(held.n_running + (sequence.state == State::running ? 1 : 0));
        }
    }
    int32_t n_free = 0;
    int32_t n_pinned = 0;
    for (size_t id = 0; id < cells_.size(); ++id) {
        if (counted[id].n_holders != cells_[id].n_holders || counted[id].n_running != cells_[id].n_running) {
            throw std::logic_error("cell " + std::to_string(id) + " has other holders than it knows");
        }
        n_free += counted[id].n_holders == 0 ? 1 : 0;
        n_pinned += counted[id].n_running > 0 ? 1 : 0;
    }
    if (n_free != n_free_cells() || n_pinned != n_pinned_) {
        throw std::logic_error("the ledger's sums are wrong");
    }
}

// A free id, else that of the longest unused idle sequence, which it empties. -1: there is none but
// `except`.
int32_t SequencePool::unused_id(int32_t except) {
    const auto free = std::find_if(sequences_.begin(), sequences_.end(),
                                   [](const Sequence& sequence) { return sequence.state == State::free; });
    if (free != sequences_.end()) {
        return static_cast<int32_t>(free - sequences_.begin());
    }
    const int32_t oldest = least_recently_used(except);
    if (oldest >= 0) {
        drop(oldest);
    }
    return oldest;
}

int32_t SequencePool::least_recently_used(int32_t except) const {
    int32_t oldest = -1;
    for (int32_t id = 0; id < n_sequences(); ++id) {
        if (id != except && at(id).state == State::idle &&
            (oldest < 0 || at(id).last_use < at(oldest).last_use)) {
            oldest = id;
        }
    }
    return oldest;
}

// The first n tokens of `from` are also held by `to`, which is empty and does not run.
bool SequencePool::share(int32_t from, int32_t to, int32_t n) {
    if (n == 0 || !memory_.copy(from, to, n)) {
        return false;
    }
    hold_beginning(from, to, n);
    return true;
}

void SequencePool::hold_beginning(int32_t from, int32_t to, int32_t n) {
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
        hold(at(to), at(from).tokens[i], at(from).cells[i]);
    }
}

void SequencePool::hold(Sequence& sequence, int32_t token, int32_t id) {
    sequence.tokens.push_back(token);
    sequence.cells.push_back(id);
    ++cell(id).n_holders;
}

void SequencePool::cut(int32_t sequence, int32_t n_kept) {
    Sequence& cut = at(sequence);
    if (n_kept >= size_of(cut.tokens)) {
        return;
    }
    memory_.trim(sequence, n_kept);
    const bool is_running = cut.state == State::running;
    while (size_of(cut.cells) > n_kept) {
        Cell& last = cell(cut.cells.back());
        n_pinned_ -= is_running && --last.n_running == 0 ? 1 : 0;
        if (--last.n_holders == 0) {
            free_cells_.push_back(cut.cells.back());
        }
        cut.cells.pop_back();
    }
    cut.tokens.resize(static_cast<size_t>(n_kept));
}

// Cuts an idle sequence's tail so that n_wanted cells become free, or as many as it alone holds.
void SequencePool::shrink(int32_t sequence, int32_t n_wanted) {
    const auto& cells = at(sequence).cells;
    int32_t n_kept = memory_.keeps_everything() ? size_of(cells) : 0;
    while (n_kept > 0 && n_wanted > 0) {
        --n_kept;
        n_wanted -= cell(cells[static_cast<size_t>(n_kept)]).n_holders == 1 ? 1 : 0;
    }
    n_kept -= n_kept % cut_granularity;
    if (n_kept == 0) {
        drop(sequence);
    } else {
        cut(sequence, n_kept);
    }
}

// A sequence whose tokens another one begins with holds nothing that could be missed.
void SequencePool::drop_duplicates_of(int32_t sequence) {
    const auto& tokens = at(sequence).tokens;
    for (int32_t id = 0; id < n_sequences(); ++id) {
        if (id == sequence || at(id).state == State::free) {
            continue;
        }
        const int32_t n = common_prefix(at(id).tokens, tokens, size_of(tokens));
        if (n == size_of(tokens)) {
            drop(sequence);
            return;
        }
        if (n == size_of(at(id).tokens) && at(id).state == State::idle) {
            drop(id);
        }
    }
}

}  // namespace tea
