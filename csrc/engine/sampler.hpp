#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "engine/options.hpp"

namespace tea {

struct TokenLogit {
    int32_t token;
    float logit;
};

// The `n` best tokens of a row, best first.
std::vector<TokenLogit> top_logits(const float* logits, int32_t n_vocab, int32_t n);

// Picks the next token from one row of logits, in llama.cpp's default order: top-k, top-p, min-p,
// temperature, draw (common/common.h, `samplers`). Works on the raw row: greedy is an argmax, and a
// softmax is taken over survivors only.
//
// One per request, used by one thread at a time.
class Sampler {
  public:
    // Throws Error{invalid_argument} naming an option out of range. `banned` tokens are never picked.
    Sampler(const SamplingOptions& options, std::vector<int32_t> banned);

    // `logits` (length n_vocab) may be changed. Throws Error{inference} when no token is possible.
    int32_t sample(float* logits, int32_t n_vocab);

  private:
    void select_candidates(const float* logits, int32_t n_vocab, float best);
    void keep_top_p(double total);
    int32_t draw(float best);

    SamplingOptions options_;
    std::vector<int32_t> banned_;
    std::mt19937_64 random_;
    std::vector<TokenLogit> candidates_;  // scratch: survivors, best first
    std::vector<float> weights_;          // scratch
};

// Index of the largest of `n` logits, the first one of equals. -1 when none is finite.
int32_t argmax(const float* logits, int32_t n);

}  // namespace tea
