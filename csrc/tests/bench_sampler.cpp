// What picking a token from a row of logits costs, in microseconds: `build/dev/csrc/tests/bench_sampler`.
// Options take turns, and the least time of each counts, so that a busy machine does not spoil the
// comparison.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "sampling/sampler.hpp"

namespace {

constexpr int32_t n_vocab = 128 * 1024;
constexpr int n_rounds = 60;
constexpr uint32_t n_rows = 16;

struct Kind {
    const char* name;
    tea::SamplingOptions options;
    std::vector<double> least_us = {};  // of each row
};

// Logits of a model that is sure of a few tokens (`peak` above the others), or of none.
std::vector<float> make_row(float peak, uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 2);
    std::vector<float> row(n_vocab);
    std::generate(row.begin(), row.end(), [&] { return normal(random); });
    for (int i = 0; i < 8; ++i) {
        row[static_cast<size_t>(1000 * i + 7)] += peak - static_cast<float>(i);
    }
    return row;
}

tea::SamplingOptions options(float temperature, int32_t top_k, float top_p, float min_p) {
    tea::SamplingOptions made;
    made.temperature = temperature;
    made.top_k = top_k;
    made.top_p = top_p;
    made.min_p = min_p;
    return made;
}

void measure(const char* what, float peak) {
    std::vector<Kind> kinds = {
        {"greedy", options(0, 40, 0.95F, 0.05F)},
        {"top-p 0.95 alone", options(0.7F, 0, 0.95F, 0)},
        {"the defaults: top-k 40, top-p 0.95, min-p 0.05", options(0.7F, 40, 0.95F, 0.05F)},
        {"temperature alone", options(0.7F, 0, 1, 0)},
    };
    std::vector<tea::Sampler> samplers;
    for (const Kind& kind : kinds) {
        samplers.emplace_back(kind.options, std::vector<int32_t>{});
    }
    std::vector<float> scratch;
    for (uint32_t seed = 0; seed < n_rows; ++seed) {
        const auto row = make_row(peak, seed);
        std::vector<double> least(kinds.size(), std::numeric_limits<double>::infinity());
        for (int round = 0; round < n_rounds; ++round) {
            for (size_t i = 0; i < kinds.size(); ++i) {
                scratch = row;
                const auto start = std::chrono::steady_clock::now();
                (void)samplers[i].sample(scratch.data(), n_vocab);
                const std::chrono::duration<double, std::micro> took =
                    std::chrono::steady_clock::now() - start;
                least[i] = std::min(least[i], took.count());
            }
        }
        for (size_t i = 0; i < kinds.size(); ++i) {
            kinds[i].least_us.push_back(least[i]);
        }
    }
    std::printf("%s, %d tokens: median and most of %u rows\n", what, n_vocab, n_rows);
    for (Kind& kind : kinds) {
        std::sort(kind.least_us.begin(), kind.least_us.end());
        const double median = kind.least_us[n_rows / 2];
        std::printf("  %-48s %8.1f us %8.1f us  %5.2f of greedy\n", kind.name, median, kind.least_us.back(),
                    median / kinds[0].least_us[n_rows / 2]);
    }
}

}  // namespace

int main() {
    measure("peaked", 24);
    measure("flat", 0);
}
