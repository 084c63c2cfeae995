#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string_view>
#include <vector>

#include "base/options.hpp"
#include "llama/grammar.hpp"
#include "sampling/logits.hpp"
#include "sampling/penalties.hpp"

namespace tea {

// Picks the next token from one row of logits, in llama.cpp's default order (common/common.h, `samplers`):
// logit bias, penalties, DRY, top-k, typical, top-p, min-p, XTC, temperature, draw; with mirostat 2 instead
// of the filters: temperature, mirostat. Temperature 0 takes the best token after bias and penalties. What a
// grammar does not allow is left out before the filters, as if its logits were -inf; but first a token is
// drawn without regard to it, and taken if it is allowed: most are, and testing one costs little. Works on
// the raw row: greedy is an argmax, and a softmax is taken over survivors only.
//
// One per request, used by one thread at a time.
class Sampler {
  public:
    // Throws Error{invalid_argument} naming an option out of range. `banned` tokens are never picked.
    Sampler(const SamplingOptions& options, std::vector<int32_t> banned,
            std::unique_ptr<Grammar> grammar = nullptr);

    // Whether accept() must be called for the prompt's tokens, and for each that was picked.
    bool has_memory() const { return penalties_.is_active(); }
    void accept(int32_t token, std::string_view piece) { penalties_.accept(token, piece); }

    // `logits` (length n_vocab) may be changed. Throws Error{inference} when no token is possible, and
    // Error{grammar} when the grammar allows none that is.
    int32_t sample(float* logits, int32_t n_vocab);

    // A token that comes without being sampled. Throws Error{grammar} when the grammar does not allow it.
    void force(int32_t token);

    // The tokens that sample() draws from, with their chances. For tests; not for greedy sampling.
    struct Chance {
        int32_t token;
        double probability;
    };
    std::vector<Chance> chances(float* logits, int32_t n_vocab);

  private:
    struct Candidate {
        int32_t token;
        float logit;
        double weight;  // exp(logit - best)
    };

    static bool is_worse(const Candidate& a, const Candidate& b);
    static bool is_better(const Candidate& a, const Candidate& b);  // of equals, the smaller id is
    LogitRow prepare(float* logits, int32_t n_vocab);
    Candidate pick(const LogitRow& row);
    Candidate pick_allowed(const LogitRow& row);
    std::vector<Candidate> find_allowed(const LogitRow& row) const;
    bool is_greedy() const;
    float reach() const;
    void gather(const LogitRow& row);
    void take_from(const LogitRow& row, float min_logit);
    void gather_nucleus(const LogitRow& row);
    void filter(float best);
    void keep_typical();
    void sort_candidates();
    void keep_top_p();
    void keep_min_p();
    void keep_below_threshold();
    void keep_unsurprising(float best);
    void weigh(float best, float temperature);
    double total_weight() const;
    const Candidate& draw();
    double random_fraction();

    SamplingOptions options_;
    std::vector<int32_t> banned_;
    Penalties penalties_;
    std::unique_ptr<Grammar> grammar_;  // null: none
    std::mt19937_64 random_;
    float mirostat_mu_;
    std::vector<Candidate> candidates_;  // scratch: survivors
    double n_out_of_reach_ = 0;          // scratch: weight of what is not gathered, for top-p
};

}  // namespace tea
