#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/options.hpp"

namespace tea {

// Makes tokens less likely that repeat what stands in the text already: llama.cpp's `penalties` and `dry`
// samplers (src/llama-sampler.cpp), on the few tokens of a row that they concern.
class Penalties {
  public:
    // Throws Error{invalid_argument} naming an option out of range.
    explicit Penalties(const SamplingOptions& options);

    // Whether any of them is on; else accept() need not be called.
    bool is_active() const { return has_penalties_ || has_dry_; }
    // Appends a token, whose bytes are `piece`, to the text: first those of the prompt.
    void accept(int32_t token, std::string_view piece);
    void apply(float* logits) const;

  private:
    void count(int32_t token);
    void look_for_breaker(int32_t token, std::string_view piece);
    void apply_penalties(float* logits) const;
    void apply_dry(float* logits) const;
    bool is_breaker(int32_t token) const;
    size_t begin_of_last(int32_t n) const;

    SamplingOptions options_;
    bool has_penalties_;
    bool has_dry_;
    std::vector<int32_t> history_;
    std::unordered_map<int32_t, int32_t> counts_;  // of the last repeat_last_n tokens
    std::vector<bool> is_breaker_;                 // by token, as far as they came up
    std::string tail_;                             // of the text, in which a breaker may have begun
    size_t n_since_breaker_ = 0;                   // tokens
};

}  // namespace tea
