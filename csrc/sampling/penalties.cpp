#include "sampling/penalties.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "base/check.hpp"

namespace tea {

namespace {

constexpr int32_t max_int = std::numeric_limits<int32_t>::max();

// Of a list and each of its suffixes, how many leading elements they have in common (the Z-function).
std::vector<size_t> self_overlaps(const std::vector<int32_t>& list) {
    std::vector<size_t> overlaps(list.size());
    size_t begin = 0;
    size_t end = 0;  // of the overlap that reaches farthest
    for (size_t i = 1; i < list.size(); ++i) {
        size_t n = i < end ? std::min(end - i, overlaps[i - begin]) : 0;
        while (i + n < list.size() && list[n] == list[i + n]) {
            ++n;
        }
        overlaps[i] = n;
        if (i + n > end) {
            begin = i;
            end = i + n;
        }
    }
    return overlaps;
}

}  // namespace

Penalties::Penalties(const SamplingOptions& options)
    : options_(options),
      has_penalties_(
          options.repeat_last_n != 0 &&
          (options.repeat_penalty != 1 || options.presence_penalty != 0 || options.frequency_penalty != 0)),
      has_dry_(options.dry_multiplier != 0 && options.dry_penalty_last_n != 0) {
    check_between("repeat_penalty", options.repeat_penalty, 0.01, 100);
    check_between("presence_penalty", options.presence_penalty, -100, 100);
    check_between("frequency_penalty", options.frequency_penalty, -100, 100);
    check_between("repeat_last_n", options.repeat_last_n, -1, max_int);
    check_between("dry_multiplier", options.dry_multiplier, 0, 1e6);
    check_between("dry_base", options.dry_base, 1, 1e6);
    check_between("dry_allowed_length", options.dry_allowed_length, 1, max_int);
    check_between("dry_penalty_last_n", options.dry_penalty_last_n, -1, max_int);
}

void Penalties::accept(int32_t token, std::string_view piece) {
    history_.push_back(token);
    if (has_penalties_) {
        count(token);
    }
    if (has_dry_) {
        look_for_breaker(token, piece);
    }
}

// The tokens that the penalties look back at change by one at each end.
void Penalties::count(int32_t token) {
    ++counts_[token];
    const size_t begin = begin_of_last(options_.repeat_last_n);
    if (begin > 0) {
        const auto left = counts_.find(history_[begin - 1]);
        if (--left->second == 0) {
            counts_.erase(left);
        }
    }
}

void Penalties::look_for_breaker(int32_t token, std::string_view piece) {
    // A breaker may end in this token and have begun in one before.
    const size_t n_before = tail_.size();
    tail_ += piece;
    size_t longest = 1;
    bool is_broken = false;
    for (const auto& breaker : options_.dry_sequence_breakers) {
        longest = std::max(longest, breaker.size());
        const size_t from = n_before >= breaker.size() ? n_before - breaker.size() + 1 : 0;
        is_broken = is_broken || tail_.find(breaker, from) != std::string::npos;
        if (piece.find(breaker) != std::string_view::npos) {
            is_breaker_.resize(std::max(is_breaker_.size(), static_cast<size_t>(token) + 1));
            is_breaker_[static_cast<size_t>(token)] = true;
        }
    }
    tail_.erase(0, tail_.size() - std::min(tail_.size(), longest - 1));
    n_since_breaker_ = is_broken ? 0 : n_since_breaker_ + 1;
}

void Penalties::apply(float* logits) const {
    if (has_penalties_) {
        apply_penalties(logits);
    }
    if (has_dry_) {
        apply_dry(logits);
    }
}

void Penalties::apply_penalties(float* logits) const {
    for (const auto& [token, count] : counts_) {
        float& logit = logits[token];
        logit = logit <= 0 ? logit * options_.repeat_penalty : logit / options_.repeat_penalty;
        logit -= static_cast<float>(count) * options_.frequency_penalty + options_.presence_penalty;
    }
}

// "Don't repeat yourself": where the end of the text stood before, what followed there becomes less likely,
// the more so the longer the repetition. A sequence breaker begins a new sequence.
void Penalties::apply_dry(float* logits) const {
    const auto allowed = static_cast<size_t>(options_.dry_allowed_length);
    const std::vector<int32_t> backwards(
        history_.rbegin(),
        history_.rend() - static_cast<std::ptrdiff_t>(begin_of_last(options_.dry_penalty_last_n)));
    const size_t n_room = std::min(backwards.size(), n_since_breaker_);
    if (backwards.size() <= allowed || n_room < allowed) {
        return;
    }
    std::map<int32_t, size_t> repeated;  // by the token that would continue it
    const std::vector<size_t> overlaps = self_overlaps(backwards);
    for (size_t i = 1; i < backwards.size(); ++i) {
        const size_t n = std::min(overlaps[i], n_room);
        if (n >= allowed) {
            size_t& longest = repeated[backwards[i - 1]];
            longest = std::max(longest, n);
        }
    }
    // The largest exponent that a float holds.
    const double max_exponent = std::log(std::numeric_limits<float>::max()) / std::log(options_.dry_base);
    for (const auto& [token, n] : repeated) {
        if (!is_breaker(token)) {
            const double exponent = std::min(static_cast<double>(n - allowed), max_exponent);
            logits[token] -= options_.dry_multiplier *
                             static_cast<float>(std::pow(static_cast<double>(options_.dry_base), exponent));
        }
    }
}

bool Penalties::is_breaker(int32_t token) const {
    return static_cast<size_t>(token) < is_breaker_.size() && is_breaker_[static_cast<size_t>(token)];
}

// Index of the first of the last n tokens; -1: of all.
size_t Penalties::begin_of_last(int32_t n) const {
    const auto n_last = static_cast<size_t>(n);
    return n < 0 || n_last > history_.size() ? 0 : history_.size() - n_last;
}

}  // namespace tea
