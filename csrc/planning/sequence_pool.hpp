#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tea {

// The memory that the pool keeps books of: the KV cache, or a fake one in tests.
class SequenceMemory {
  public:
    virtual ~SequenceMemory() = default;
    // Drops all but the first n_kept tokens of a sequence.
    virtual void trim(int32_t sequence, int32_t n_kept) = 0;
    // Makes `to`, which is empty, hold the first n tokens of `from`, in the same cells. Returns false, and
    // leaves it empty, when that cannot be done now.
    virtual bool copy(int32_t from, int32_t to, int32_t n) = 0;
    // Whether a sequence of n_held tokens can be continued after its first n_kept.
    virtual bool can_resume(int32_t sequence, int32_t n_held, int32_t n_kept) const = 0;
    // Whether that is so for every sequence and length.
    virtual bool keeps_everything() const = 0;
};

// The one interface between requests and computed tokens: which sequence ids there are, what tokens
// each holds, and how many KV cells that takes. A request attaches to the longest computed past there
// is, of a finished request or of one that runs. Sequences with a common past hold the same cells: what
// one computes goes into cells of its own (docs/adr/0007).
//
// A cell is pinned while a running sequence holds it, idle while only finished ones do, else free.
// Bookkeeping only: each change is told to the SequenceMemory. Engine thread only.
class SequencePool {
  public:
    struct Match {
        int32_t sequence = -1;  // -1: nothing in common with anyone
        int32_t n_cached = 0;   // leading tokens that need no computing
        int32_t n_idle = 0;     // their cells that are idle, and will be pinned
    };

    // `memory` must outlive the pool.
    SequencePool(int32_t n_sequences, int32_t n_cells, SequenceMemory& memory);

    // The longest past that attach() can give to `tokens`. At most all but the last token: that one must
    // be computed for its logits.
    Match find(const std::vector<int32_t>& tokens) const;
    // How many leading tokens `tokens` has in common with any sequence, to be had or not.
    int32_t n_common(const std::vector<int32_t>& tokens) const;
    // Whether attach() has a sequence to give: one that is free or idle.
    bool has_room() const;
    // Takes a sequence that holds match.n_cached tokens, or none if they cannot be had after all. It runs
    // until release() or drop().
    int32_t attach(const Match& match);
    // The same for tokens that were put into the memory of a sequence from elsewhere: the first
    // match.n_cached of them are in the cells of match.sequence now.
    void share_beginning(int32_t sequence, const Match& match);
    // A running sequence now holds `n_new` tokens more, in free cells.
    void extend(int32_t sequence, const int32_t* tokens, int32_t n_new);
    // A running sequence holds its first n_kept tokens only.
    void truncate(int32_t sequence, int32_t n_kept);
    // Keeps what a running sequence holds now for others, as an idle one, if an id can be had.
    void checkpoint(int32_t sequence);
    // A running sequence becomes idle. Its tokens stay until their cells or its id are needed.
    void release(int32_t sequence);
    // A running or idle sequence becomes free.
    void drop(int32_t sequence);
    // Forgets idle tokens, the longest unused first, until `n_cells` are free or nothing idle is left.
    void make_room(int32_t n_cells);
    // The cache has `n_cells` now, no less than before.
    void grow(int32_t n_cells);
    // Forgets everything, as after the KV cache was cleared; all sequences are free.
    void clear();

    int32_t n_cells() const { return static_cast<int32_t>(cells_.size()); }
    int32_t n_free_cells() const { return static_cast<int32_t>(free_cells_.size()); }
    int32_t n_pinned_cells() const { return n_pinned_; }
    int32_t n_idle_cells() const { return n_cells() - n_free_cells() - n_pinned_; }
    int32_t n_available_cells() const { return n_cells() - n_pinned_; }  // free, or can be freed
    int32_t n_sequences() const { return static_cast<int32_t>(sequences_.size()); }
    int32_t n_free_sequences() const;
    // Cells that nobody else holds.
    int32_t n_alone(int32_t sequence) const;
    const std::vector<int32_t>& tokens(int32_t sequence) const { return at(sequence).tokens; }
    std::vector<int32_t> idle_sequences() const;  // the last used first
    // Counts everything anew. Throws std::logic_error when that differs from the books.
    void audit() const;

  private:
    enum class State { free, idle, running };
    struct Sequence {
        State state = State::free;
        std::vector<int32_t> tokens;
        std::vector<int32_t> cells;  // of the tokens, in their order
        uint64_t last_use = 0;
    };
    struct Cell {
        int16_t n_holders = 0;
        int16_t n_running = 0;  // of the holders
    };

    int32_t unused_id(int32_t except);
    int32_t least_recently_used(int32_t except) const;  // idle; -1: none
    bool share(int32_t from, int32_t to, int32_t n);
    void hold_beginning(int32_t from, int32_t to, int32_t n);
    void hold(Sequence& sequence, int32_t token, int32_t cell);
    void cut(int32_t sequence, int32_t n_kept);
    void shrink(int32_t sequence, int32_t n_wanted);
    void drop_duplicates_of(int32_t sequence);
    Sequence& at(int32_t sequence) { return sequences_[static_cast<size_t>(sequence)]; }
    const Sequence& at(int32_t sequence) const { return sequences_[static_cast<size_t>(sequence)]; }
    Cell& cell(int32_t id) { return cells_[static_cast<size_t>(id)]; }
    const Cell& cell(int32_t id) const { return cells_[static_cast<size_t>(id)]; }

    SequenceMemory& memory_;
    std::vector<Sequence> sequences_;
    std::vector<Cell> cells_;
    std::vector<int32_t> free_cells_;
    int32_t n_pinned_ = 0;
    uint64_t clock_ = 0;
};

// How many leading tokens two lists have in common, at most limit.
int32_t common_prefix(const std::vector<int32_t>& a, const std::vector<int32_t>& b, int32_t limit);

}  // namespace tea
