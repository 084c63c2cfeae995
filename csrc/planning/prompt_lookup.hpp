#pragma once

#include <cstdint>
#include <vector>

namespace tea {

// Guesses how a text goes on: as it did after the last place where its last few tokens stood before.
// That is cheap, and often right where an answer quotes its prompt (code, summaries, tables).
class PromptLookup {
  public:
    // At most max_guesses tokens a guess; 0: never any.
    explicit PromptLookup(int32_t max_guesses) : max_guesses_(max_guesses), n_next_(max_guesses) {}

    // The tokens that may follow `tokens`, at most n_allowed.
    std::vector<int32_t> guess(const std::vector<int32_t>& tokens, int32_t n_allowed) const;
    // Of the last guess, so many tokens were right: guesses become longer or shorter by it.
    void learn(int32_t n_guessed, int32_t n_right);

  private:
    int32_t max_guesses_;
    int32_t n_next_;
};

}  // namespace tea
