#pragma once

#include <cstdint>
#include <vector>

namespace tea {

// Guesses the next tokens of a text: those that followed its last few tokens where they occurred before.
// That is cheap, and often right where an answer quotes its prompt (code, summaries, tables).
class PromptLookup {
  public:
    // At most max_guesses tokens a guess; 0: never any.
    explicit PromptLookup(int32_t max_guesses) : max_guesses_(max_guesses), n_next_(max_guesses) {}

    // The tokens that may follow `tokens`, at most n_allowed.
    std::vector<int32_t> guess(const std::vector<int32_t>& tokens, int32_t n_allowed) const;
    // n_right tokens of the last guess were right: the next guess becomes longer or shorter.
    void learn(int32_t n_guessed, int32_t n_right);

  private:
    int32_t max_guesses_;
    int32_t n_next_;
};

}  // namespace tea
