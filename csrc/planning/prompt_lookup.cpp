#include "planning/prompt_lookup.hpp"

#include <algorithm>
#include <cstddef>

namespace tea {

namespace {

constexpr std::ptrdiff_t max_match = 3;  // tokens; shorter ones are tried when it is not found
constexpr std::ptrdiff_t min_match = 2;

}  // namespace

std::vector<int32_t> PromptLookup::guess(const std::vector<int32_t>& tokens, int32_t n_allowed) const {
    const int32_t n = std::min(n_next_, n_allowed);
    const auto size = static_cast<std::ptrdiff_t>(tokens.size());
    for (std::ptrdiff_t n_match = max_match; n_match >= min_match && n > 0; --n_match) {
        if (size <= n_match) {
            continue;
        }
        const auto suffix = tokens.end() - n_match;
        // The last match that ends before the suffix does.
        const auto found = std::find_end(tokens.begin(), tokens.end() - 1, suffix, tokens.end());
        if (found != tokens.end() - 1) {
            const auto next = found + n_match;
            return {next, next + std::min<std::ptrdiff_t>(n, tokens.end() - next)};
        }
    }
    return {};
}

void PromptLookup::learn(int32_t n_guessed, int32_t n_right) {
    if (n_guessed > 0) {
        n_next_ = n_right == n_guessed ? std::min(max_guesses_, 2 * n_next_) : std::max(1, n_right + 1);
        n_next_ = std::min(n_next_, max_guesses_);
    }
}

}  // namespace tea
