#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace tea {

// The one interface between requests and computed tokens: which sequence ids there are, what tokens
// each holds in the KV cache, and how many cells that takes. A request attaches to the longest usable
// past; for now that is the past of one idle sequence, which it continues.
//
// Bookkeeping only: the caller makes the KV cache agree (`removed` callbacks say what to drop there).
// Engine thread only.
class SequencePool {
  public:
    // Called with (sequence, n_kept): drop from the KV cache all but the first n_kept tokens.
    using Removed = std::function<void(int32_t, int32_t)>;
    // Called with (sequence, n_held, n_kept): whether a sequence of n_held tokens can be continued
    // after its first n_kept; some kinds of memory cannot go back.
    using CanResume = std::function<bool(int32_t, int32_t, int32_t)>;

    struct Attachment {
        int32_t sequence;
        int32_t n_cached;  // leading tokens that need no computing
    };

    SequencePool(int32_t n_sequences, int32_t n_cells, Removed removed, CanResume can_resume);

    // Whether a sequence can be had: one that is free or idle.
    bool has_room() const;
    // How many leading tokens of `tokens` attach() would find computed. At most all but one: the last
    // token must be computed for its logits.
    int32_t n_attachable(const std::vector<int32_t>& tokens) const;
    // Takes a sequence for `tokens`, the one with the longest usable past or the longest idle one.
    Attachment attach(const std::vector<int32_t>& tokens);
    // The sequence now holds `n_new` tokens more.
    void extend(int32_t sequence, const int32_t* tokens, int32_t n_new);
    // Gives a sequence back. Its tokens stay until their cells or the sequence are needed.
    void release(int32_t sequence);
    // Gives a sequence back and forgets its tokens.
    void drop(int32_t sequence);
    // Forgets idle tokens, the longest unused first, until `n_cells` are free or nothing idle is left.
    void make_room(int32_t n_cells);
    // Forgets everything, as after the KV cache was cleared; all sequences are free.
    void clear();

    int32_t n_cells() const { return n_cells_; }
    int32_t n_used_cells() const { return n_used_; }  // of running and idle sequences
    int32_t n_idle_cells() const;
    int32_t n_available_cells() const { return n_cells_ - n_used_ + n_idle_cells(); }
    int32_t n_held(int32_t sequence) const;

  private:
    enum class State { free, idle, running };
    struct Sequence {
        State state = State::free;
        std::vector<int32_t> tokens;  // in the KV cache
        uint64_t last_use = 0;
    };

    struct Match {
        int32_t sequence = -1;
        int32_t n_cached = 0;
    };

    Match best_match(const std::vector<int32_t>& tokens) const;
    int32_t least_recently_used() const;  // idle; -1: none
    void keep(int32_t sequence, int32_t n_kept);
    Sequence& at(int32_t sequence) { return sequences_[static_cast<size_t>(sequence)]; }
    const Sequence& at(int32_t sequence) const { return sequences_[static_cast<size_t>(sequence)]; }

    std::vector<Sequence> sequences_;
    int32_t n_cells_;
    int32_t n_used_ = 0;
    uint64_t clock_ = 0;
    Removed removed_;
    CanResume can_resume_;
};

}  // namespace tea
