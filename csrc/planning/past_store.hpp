#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace tea {

// A past outside of the KV cache: what llama.cpp's memory held of these tokens.
struct SavedPast {
    std::vector<int32_t> tokens;
    std::vector<uint8_t> state;
};

// Pasts that were moved out of the KV cache, where each idle cell slows every step, into ordinary memory.
// Engine thread only.
class PastStore {
  public:
    struct Match {
        size_t index = 0;
        int32_t n_common = 0;  // leading tokens; 0: nothing
    };

    // `max_bytes`: what all states together may take.
    explicit PastStore(size_t max_bytes) : max_bytes_(max_bytes) {}

    // Whether a state of that size would be kept.
    bool takes(size_t n_bytes) const { return n_bytes <= max_bytes_; }
    // Keeps a past as the last used one. Those that it begins with are forgotten, and the longest unused ones
    // as far as they have no room beside it.
    void put(SavedPast past);
    // The past that has most in common with `tokens`.
    Match find(const std::vector<int32_t>& tokens) const;
    const SavedPast& at(size_t index) const { return pasts_[index]; }
    SavedPast take(size_t index);
    // The last used first.
    const std::deque<SavedPast>& all() const { return pasts_; }
    int64_t n_tokens() const;

  private:
    size_t max_bytes_;
    size_t n_bytes_ = 0;
    std::deque<SavedPast> pasts_;  // the last used first
};

}  // namespace tea
