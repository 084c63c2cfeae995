#include "sampling/logits.hpp"

#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "sampling/exp.hpp"

namespace tea {

namespace {

constexpr float lowest = -std::numeric_limits<float>::infinity();

bool is_better(const TokenLogit& a, const TokenLogit& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

float largest_of(const float* logits, int32_t n) {
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
    return best;
}

}  // namespace

LogitRow::LogitRow(const float* logits, int32_t n_vocab) : logits_(logits), n_vocab_(n_vocab), best_(-1) {
    largest_.reserve(static_cast<size_t>(n_vocab / n_block) + 1);
    for (int32_t first = 0; first < n_vocab; first += n_block) {
        largest_.push_back(largest_of(logits + first, std::min(n_block, n_vocab - first)));
    }
    const auto block = std::max_element(largest_.begin(), largest_.end());
    if (block != largest_.end() && std::isfinite(*block)) {
        const float* first = logits + (block - largest_.begin()) * n_block;
        best_ = static_cast<int32_t>(std::find(first, logits + n_vocab, *block) - logits);
    }
}

std::vector<TokenLogit> LogitRow::top(int32_t n) const {
    if (n <= 0) {
        return {};
    }
    // At least n logits reach the n-th largest of the blocks' maxima: smaller logits are skipped.
    float min_logit = std::numeric_limits<float>::lowest();
    if (const auto place = static_cast<size_t>(n) - 1; place < largest_.size()) {
        auto ordered = largest_;
        const auto nth = ordered.begin() + static_cast<std::ptrdiff_t>(place);
        std::nth_element(ordered.begin(), nth, ordered.end(), std::greater<>());
        min_logit = std::max(min_logit, *nth);
    }
    // A heap with the worst survivor on top.
    std::vector<TokenLogit> best;
    for_each_from(min_logit, [&](int32_t token, float logit) {
        if (best.size() < static_cast<size_t>(n)) {
            best.push_back({token, logit});
            std::push_heap(best.begin(), best.end(), is_better);
        } else if (logit > best.front().logit) {
            std::pop_heap(best.begin(), best.end(), is_better);
            best.back() = {token, logit};
            std::push_heap(best.begin(), best.end(), is_better);
        }
    });
    std::sort_heap(best.begin(), best.end(), is_better);  // best first
    return best;
}

double LogitRow::total_weight() const {
    return best_ < 0 ? 0 : sum_of_exp(logits_, n_vocab_, logits_[best_]);
}

double LogitRow::total_weight_bound(float min_logit) const {
    double total = 0;
    auto others = largest_;
    for (size_t block = 0; block < largest_.size(); ++block) {
        if (largest_[block] >= min_logit) {
            const int32_t first = static_cast<int32_t>(block) * n_block;
            total += sum_of_exp(logits_ + first, std::min(n_block, n_vocab_ - first), logits_[best_]);
            others[block] = lowest;
        }
    }
    return total +
           n_block * sum_of_exp_bound(others.data(), static_cast<int32_t>(others.size()), logits_[best_]);
}

double LogitRow::log_total() const {
    return best_ < 0 ? 0 : static_cast<double>(logits_[best_]) + std::log(total_weight());
}

}  // namespace tea
