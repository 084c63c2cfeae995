#pragma once

#include <cstdint>
#include <vector>

// Searches in a row of logits, one for each token of the vocabulary. NaN is never found.

namespace tea {

struct TokenLogit {
    int32_t token;
    float logit;
};

// The `n` best tokens, best first; of equals, the smaller ids.
std::vector<TokenLogit> top_logits(const float* logits, int32_t n_vocab, int32_t n);
// What to subtract from a logit for the token's log-probability.
double log_total(const float* logits, int32_t n_vocab);
// Index of the largest, the first one of equals. -1 when none is finite.
int32_t argmax(const float* logits, int32_t n_vocab);

// Calls visit(token, logit) for each logit that is at least `least`. Most are not: they are passed over in
// blocks, with vector registers.
template <typename Visit>
void for_each_from(const float* logits, int32_t n_vocab, float least, Visit visit) {
    constexpr int32_t n_block = 32;
    int32_t i = 0;
    for (; i + n_block <= n_vocab; i += n_block) {
        int32_t n_found = 0;
        for (int32_t j = 0; j < n_block; ++j) {
            n_found += logits[i + j] >= least ? 1 : 0;
        }
        for (int32_t j = i; n_found > 0 && j < i + n_block; ++j) {
            if (logits[j] >= least) {
                visit(j, logits[j]);
            }
        }
    }
    for (; i < n_vocab; ++i) {
        if (logits[i] >= least) {
            visit(i, logits[i]);
        }
    }
}

}  // namespace tea
