#include "engine/sampler.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "engine/error.hpp"

namespace tea {

namespace {

constexpr float lowest = -std::numeric_limits<float>::infinity();

bool is_better(const TokenLogit& a, const TokenLogit& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

void check_range(const char* name, double value, double low, double high) {
    if (!(value >= low && value <= high)) {  // also refuses NaN
        throw Error(ErrorKind::invalid_argument, std::string(name) + "=" + std::to_string(value) +
                                                     " is not between " + std::to_string(low) + " and " +
                                                     std::to_string(high));
    }
}

// exp(logit - best), 0 for what can never be drawn (-inf, NaN).
double weight(float logit, float best) {
    const double w = std::exp(static_cast<double>(logit) - static_cast<double>(best));
    return w >= 0 ? w : 0;
}

}  // namespace

std::vector<TokenLogit> top_logits(const float* logits, int32_t n_vocab, int32_t n) {
    // A heap with the worst survivor on top: after the first few hundred, one comparison a token.
    std::vector<TokenLogit> best;
    float threshold = lowest;
    for (int32_t token = 0; token < n_vocab; ++token) {
        if (!(logits[token] > threshold)) {
            continue;
        }
        if (best.size() == static_cast<size_t>(n)) {
            std::pop_heap(best.begin(), best.end(), is_better);
            best.back() = {token, logits[token]};
        } else {
            best.push_back({token, logits[token]});
        }
        std::push_heap(best.begin(), best.end(), is_better);
        if (best.size() == static_cast<size_t>(n)) {
            threshold = best.front().logit;
        }
    }
    std::sort_heap(best.begin(), best.end(), is_better);  // best first
    return best;
}

int32_t argmax(const float* logits, int32_t n) {
    // Lanes without a dependency between them, so that the compiler can use vector registers.
    constexpr int32_t n_lanes = 16;
    std::array<float, n_lanes> lanes;
    lanes.fill(lowest);
    int32_t i = 0;
    for (; i + n_lanes <= n; i += n_lanes) {
        for (int32_t lane = 0; lane < n_lanes; ++lane) {
            const float value = logits[i + lane];
            float& best = lanes[static_cast<size_t>(lane)];
            best = value > best ? value : best;
        }
    }
    float best = *std::max_element(lanes.begin(), lanes.end());
    for (; i < n; ++i) {
        best = logits[i] > best ? logits[i] : best;
    }
    if (!std::isfinite(best)) {
        return -1;
    }
    return static_cast<int32_t>(std::find(logits, logits + n, best) - logits);
}

Sampler::Sampler(const SamplingOptions& options, std::vector<int32_t> banned)
    : options_(options), banned_(std::move(banned)), random_(options.seed) {
    check_range("temperature", options.temperature, 0, 1e6);
    check_range("top_p", options.top_p, 0, 1);
    check_range("min_p", options.min_p, 0, 1);
    check_range("top_k", options.top_k, 0, std::numeric_limits<int32_t>::max());
}

int32_t Sampler::sample(float* logits, int32_t n_vocab) {
    for (const int32_t token : banned_) {
        logits[token] = lowest;
    }
    const int32_t best = argmax(logits, n_vocab);
    if (best < 0) {
        throw Error(ErrorKind::inference,
                    "the model gave no finite logits: its weights are damaged, or every token is excluded");
    }
    if (options_.temperature == 0 || options_.top_k == 1) {
        return best;
    }
    select_candidates(logits, n_vocab, logits[best]);
    return draw(logits[best]);
}

// top-k, top-p and min-p each keep the best few: what is left is the shortest of the three prefixes of
// the descending order. Only that prefix is ever sorted.
void Sampler::select_candidates(const float* logits, int32_t n_vocab, float best) {
    const float min_logit = options_.min_p > 0 ? best + std::log(options_.min_p) : lowest;
    double total = 0;
    if (options_.top_k > 0 && options_.top_k < n_vocab) {
        candidates_ = top_logits(logits, n_vocab, options_.top_k);
        for (const auto& candidate : candidates_) {
            total += weight(candidate.logit, best);
        }
        while (candidates_.size() > 1 && !(candidates_.back().logit >= min_logit)) {
            candidates_.pop_back();
        }
    } else {
        candidates_.clear();
        for (int32_t token = 0; token < n_vocab; ++token) {
            if (logits[token] > lowest && logits[token] >= min_logit) {
                candidates_.push_back({token, logits[token]});
            }
            total += options_.top_p < 1 ? weight(logits[token], best) : 0;
        }
    }
    if (options_.top_p < 1) {
        keep_top_p(total);
    }
}

// Keeps the fewest best candidates whose weights reach top_p of `total`, at least one.
void Sampler::keep_top_p(double total) {
    const auto best = *std::min_element(candidates_.begin(), candidates_.end(), is_better);
    double sum = 0;
    size_t n_kept = 0;
    for (size_t n_sorted = 0; n_sorted < candidates_.size();) {
        // Sort a little more each time: the nucleus is usually small.
        const size_t end = std::min(candidates_.size(), std::max<size_t>(64, n_sorted * 4));
        const auto at = [&](size_t i) { return candidates_.begin() + static_cast<std::ptrdiff_t>(i); };
        std::partial_sort(at(n_sorted), at(end), candidates_.end(), is_better);
        for (n_sorted = end; n_kept < n_sorted;) {
            sum += weight(candidates_[n_kept++].logit, best.logit);
            if (sum >= static_cast<double>(options_.top_p) * total) {
                candidates_.resize(n_kept);
                return;
            }
        }
    }
}

int32_t Sampler::draw(float best) {
    weights_.clear();
    double total = 0;
    for (const auto& candidate : candidates_) {
        weights_.push_back(std::exp((candidate.logit - best) / options_.temperature));
        total += static_cast<double>(weights_.back());
    }
    // 53 random bits: the same number from the same seed with every standard library.
    const double point = static_cast<double>(random_() >> 11) * 0x1.0p-53 * total;
    double sum = 0;
    for (size_t i = 0; i < weights_.size(); ++i) {
        sum += static_cast<double>(weights_[i]);
        if (point < sum) {
            return candidates_[i].token;
        }
    }
    return candidates_.front().token;  // rounding left `point` at the very end
}

}  // namespace tea
