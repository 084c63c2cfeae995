#include "engine/logits.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace tea {

namespace {

constexpr float lowest = -std::numeric_limits<float>::infinity();

bool is_better(const TokenLogit& a, const TokenLogit& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
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

double log_total(const float* logits, int32_t n_vocab) {
    const int32_t best = argmax(logits, n_vocab);
    if (best < 0) {
        return 0;
    }
    double total = 0;
    for (int32_t token = 0; token < n_vocab; ++token) {
        const double weight =
            std::exp(static_cast<double>(logits[token]) - static_cast<double>(logits[best]));
        total += weight >= 0 ? weight : 0;  // NaN
    }
    return static_cast<double>(logits[best]) + std::log(total);
}

int32_t argmax(const float* logits, int32_t n_vocab) {
    // Lanes without a dependency between them, so that the compiler can use vector registers.
    constexpr int32_t n_lanes = 16;
    std::array<float, n_lanes> lanes;
    lanes.fill(lowest);
    int32_t i = 0;
    for (; i + n_lanes <= n_vocab; i += n_lanes) {
        for (int32_t lane = 0; lane < n_lanes; ++lane) {
            const float value = logits[i + lane];
            float& best = lanes[static_cast<size_t>(lane)];
            best = value > best ? value : best;
        }
    }
    float best = *std::max_element(lanes.begin(), lanes.end());
    for (; i < n_vocab; ++i) {
        best = logits[i] > best ? logits[i] : best;
    }
    if (!std::isfinite(best)) {
        return -1;
    }
    return static_cast<int32_t>(std::find(logits, logits + n_vocab, best) - logits);
}

}  // namespace tea
