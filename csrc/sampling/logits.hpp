#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tea {

struct TokenLogit {
    int32_t token;
    float logit;
};

// A row of logits, one for each token of the vocabulary, and searches in it. NaN is never found. One pass
// finds the largest logit of each block: later searches look only into blocks that can hold what they look
// for.
//
// A view: the row must outlive it, and stay as it is.
class LogitRow {
  public:
    LogitRow(const float* logits, int32_t n_vocab);

    int32_t n_vocab() const { return n_vocab_; }
    float operator[](int32_t token) const { return logits_[token]; }

    // The token with the largest logit, the first of equals. -1 when none is finite.
    int32_t best() const { return best_; }
    // The `n` best tokens, best first; of equals, the smaller ids.
    std::vector<TokenLogit> top(int32_t n) const;
    // The sum of exp(logit - best logit).
    double total_weight() const;
    // An upper bound of that sum. Only blocks with a logit of at least `min_logit` are read.
    double total_weight_bound(float min_logit) const;
    // Subtract it from a logit to get the token's log-probability.
    double log_total() const;

    // Calls visit(token, logit) for each logit that is at least `min_logit`, in the order of tokens.
    template <typename Visit>
    void for_each_from(float min_logit, Visit visit) const {
        for (size_t block = 0; block < largest_.size(); ++block) {
            if (!(largest_[block] >= min_logit)) {
                continue;
            }
            const auto first = static_cast<int32_t>(block) * n_block;
            const int32_t end = std::min(first + n_block, n_vocab_);
            for (int32_t token = first; token < end; ++token) {
                if (logits_[token] >= min_logit) {
                    visit(token, logits_[token]);
                }
            }
        }
    }

  private:
    static constexpr int32_t n_block = 128;

    const float* logits_;
    int32_t n_vocab_;
    std::vector<float> largest_;  // of each block; -infinity where all are NaN
    int32_t best_;
};

}  // namespace tea
