#include <algorithm>
#include <cmath>
#include <ctime>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "base/error.hpp"
#include "sampling/exp.hpp"
#include "sampling/penalties.hpp"
#include "sampling/sampler.hpp"
#include "tests/check.hpp"

using tea::Error;
using tea::Sampler;
using tea::SamplingOptions;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

SamplingOptions options(float temperature, int32_t top_k, float top_p, float min_p, uint64_t seed = 1) {
    SamplingOptions options;
    options.temperature = temperature;
    options.top_k = top_k;
    options.top_p = top_p;
    options.min_p = min_p;
    options.seed = seed;
    return options;
}

template <typename Work>
bool throws(Work work) {
    try {
        work();
    } catch (const Error&) {
        return true;
    }
    return false;
}

std::vector<float> random_row(size_t n, uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 3);
    std::vector<float> row(n);
    std::generate(row.begin(), row.end(), [&] { return normal(random); });
    return row;
}

// The definition, written down plainly: top-k, top-p, min-p, temperature, on a sorted list.
std::map<int32_t, double> reference(const std::vector<float>& row, const SamplingOptions& o) {
    std::vector<std::pair<double, int32_t>> sorted;
    for (size_t i = 0; i < row.size(); ++i) {
        sorted.emplace_back(-static_cast<double>(row[i]), static_cast<int32_t>(i));
    }
    std::sort(sorted.begin(), sorted.end());
    if (o.top_k > 0) {
        sorted.resize(std::min(sorted.size(), static_cast<size_t>(o.top_k)));
    }
    const double best = -sorted[0].first;
    double total = 0;
    for (const auto& entry : sorted) {
        total += std::exp(-entry.first - best);
    }
    size_t n_kept = 0;
    for (double sum = 0; n_kept < sorted.size() &&
                         (n_kept == 0 || o.top_p >= 1 || sum < static_cast<double>(o.top_p) * total);
         ++n_kept) {
        sum += std::exp(-sorted[n_kept].first - best);
    }
    sorted.resize(n_kept);
    std::map<int32_t, double> probabilities;
    double sum = 0;
    for (const auto& [negative, token] : sorted) {
        if (std::exp(-negative - best) >= static_cast<double>(o.min_p)) {
            sum += probabilities[token] = std::exp((-negative - best) / static_cast<double>(o.temperature));
        }
    }
    for (auto& entry : probabilities) {
        entry.second /= sum;
    }
    return probabilities;
}

}  // namespace

TEST_CASE("argmax finds the first largest, at every length") {
    for (size_t n = 1; n < 100; ++n) {
        auto row = random_row(n, static_cast<uint32_t>(n));
        const auto expected = std::max_element(row.begin(), row.end()) - row.begin();
        CHECK(tea::LogitRow(row.data(), static_cast<int32_t>(n)).best() == expected);
        row.push_back(row[static_cast<size_t>(expected)]);
        CHECK(tea::LogitRow(row.data(), static_cast<int32_t>(n + 1)).best() == expected);
    }
}

TEST_CASE("the best n are those that sorting finds, ties and all") {
    for (const size_t n : {1U, 7U, 128U, 1000U, 5000U}) {
        auto row = random_row(n, static_cast<uint32_t>(n));
        for (size_t i = 0; i < n; i += 3) {
            row[i] = std::round(row[i]);  // ties
        }
        row[n / 2] = -infinity;  // never found
        std::vector<int32_t> sorted(n);
        std::iota(sorted.begin(), sorted.end(), 0);
        std::stable_sort(sorted.begin(), sorted.end(), [&](int32_t a, int32_t b) {
            return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)];
        });
        sorted.pop_back();
        for (const int32_t n_best : {0, 1, 2, 40, 500, 6000}) {
            const auto found = tea::LogitRow(row.data(), static_cast<int32_t>(n)).top(n_best);
            CHECK(found.size() == std::min(sorted.size(), static_cast<size_t>(n_best)));
            for (size_t i = 0; i < found.size(); ++i) {
                CHECK(found[i].token == sorted[i]);
            }
        }
    }
}

TEST_CASE("the weight of a row is at most what its blocks allow") {
    for (const int32_t n : {1, 128, 1000, 5000}) {
        auto row = random_row(static_cast<size_t>(n), static_cast<uint32_t>(n));
        row.back() = std::nanf("");
        row.front() = 12;
        const tea::LogitRow logits(row.data(), n);
        CHECK(logits.total_weight_bound(-infinity) > logits.total_weight() * (1 - 1e-6));
        CHECK(logits.total_weight_bound(-infinity) < logits.total_weight() * (1 + 1e-6));
        CHECK(logits.total_weight_bound(6) > logits.total_weight() * (1 - 1e-6));
    }
}

TEST_CASE("top-p keeps the same tokens whether or not what is far away had to be weighed") {
    for (uint32_t seed = 0; seed < 60; ++seed) {
        auto row = random_row(20000, seed);
        for (size_t i = 0; i < 5; ++i) {  // from flat to sure
            row[i * 1000 + seed] += static_cast<float>(seed % 30);
        }
        for (const float top_p : {0.5F, 0.95F, 0.999F}) {
            const SamplingOptions o = options(1, 0, top_p, 0);
            const auto expected = reference(row, o);
            auto scratch = row;
            const auto chances = Sampler(o, {}).chances(scratch.data(), 20000);
            CHECK(std::abs(static_cast<double>(chances.size()) - static_cast<double>(expected.size())) <=
                  0.001 * static_cast<double>(expected.size()));  // rounding
            for (const auto& [token, probability] : chances) {
                const auto found = expected.find(token);
                CHECK(found == expected.end() || std::abs(found->second - probability) < 1e-5);
            }
        }
    }
}

TEST_CASE("exp is right to a few units in the last place") {
    for (float x = 0; x > -86; x -= 0.0137F) {
        const double expected = std::exp(static_cast<double>(x));
        CHECK(std::abs(static_cast<double>(tea::exp_of_negative(x)) / expected - 1) < 4e-7);
    }
    CHECK(tea::exp_of_negative(0) == 1);
    for (const float x : {-87.5F, -1e30F, -infinity, std::nanf("")}) {
        CHECK(tea::exp_of_negative(x) < 2e-38F);
    }
}

TEST_CASE("rows without a finite best are refused, single bad logits are passed over") {
    std::vector<float> row(20, -infinity);
    CHECK(tea::LogitRow(row.data(), 20).best() == -1);
    row.assign(20, std::nanf(""));
    CHECK(tea::LogitRow(row.data(), 20).best() == -1);
    row[7] = 1;
    CHECK(tea::LogitRow(row.data(), 20).best() == 7);
    row[8] = infinity;
    CHECK(tea::LogitRow(row.data(), 20).best() == -1);
    row.assign(20, -infinity);
    CHECK(throws([&] { Sampler(options(0, 0, 1, 0), {}).sample(row.data(), 20); }));
}

TEST_CASE("options out of range are refused") {
    CHECK(throws([] { Sampler(options(-0.1F, 40, 1, 0), {}); }));
    CHECK(throws([] { Sampler(options(std::nanf(""), 40, 1, 0), {}); }));
    CHECK(throws([] { Sampler(options(infinity, 40, 1, 0), {}); }));
    CHECK(throws([] { Sampler(options(1, -1, 1, 0), {}); }));
    CHECK(throws([] { Sampler(options(1, 40, 1.1F, 0), {}); }));
    CHECK(throws([] { Sampler(options(1, 40, 1, -0.1F), {}); }));
    const auto refuses = [](auto change) {
        SamplingOptions changed;
        change(changed);
        return throws([&] { Sampler(changed, {}); });
    };
    CHECK(!refuses([](SamplingOptions&) {}));
    CHECK(refuses([](SamplingOptions& o) { o.typical_p = 1.5F; }));
    CHECK(refuses([](SamplingOptions& o) { o.repeat_penalty = 0; }));
    CHECK(refuses([](SamplingOptions& o) { o.repeat_last_n = -2; }));
    CHECK(refuses([](SamplingOptions& o) { o.dry_base = 0.5F; }));
    CHECK(refuses([](SamplingOptions& o) { o.dry_allowed_length = 0; }));
    CHECK(refuses([](SamplingOptions& o) { o.xtc_probability = -1; }));
    CHECK(refuses([](SamplingOptions& o) { o.mirostat = 1; }));
    CHECK(refuses([](SamplingOptions& o) { o.mirostat_tau = infinity; }));
}

TEST_CASE("temperature 0 is greedy, whatever the other options") {
    auto row = random_row(1000, 5);
    const int32_t best = tea::LogitRow(row.data(), 1000).best();
    CHECK(Sampler(options(0, 40, 0.1F, 0.9F), {}).sample(row.data(), 1000) == best);
    CHECK(Sampler(options(1, 1, 1, 0), {}).sample(row.data(), 1000) == best);
}

TEST_CASE("banned tokens are never picked") {
    auto row = random_row(50, 6);
    const int32_t best = tea::LogitRow(row.data(), 50).best();
    CHECK(Sampler(options(0, 0, 1, 0), {best}).sample(row.data(), 50) != best);
}

TEST_CASE("biases change what is picked, also greedily") {
    auto row = random_row(50, 6);
    SamplingOptions biased = options(0, 0, 1, 0);
    biased.logit_bias = {{17, 100}};
    CHECK(Sampler(biased, {}).sample(row.data(), 50) == 17);
}

TEST_CASE("a breaker ends what counts as a repetition") {
    SamplingOptions dry = options(0, 0, 1, 0);
    dry.dry_multiplier = 50;
    dry.dry_allowed_length = 2;
    dry.dry_sequence_breakers = {"--", "\n"};
    const auto picks = [&](const std::vector<std::pair<int32_t, const char*>>& text) {
        std::vector<float> row(10, 0);
        row[4] = 1;  // what it would pick
        row[6] = 0.5F;
        Sampler sampler(dry, {});
        for (const auto& [token, piece] : text) {
            sampler.accept(token, piece);
        }
        return sampler.sample(row.data(), 10);
    };
    CHECK(picks({{1, "a"}, {2, "b"}, {3, "c"}, {4, "d"}, {1, "a"}, {2, "b"}, {3, "c"}}) == 6);
    CHECK(picks({{1, "a"}, {2, "b"}, {3, "\n"}, {4, "d"}, {1, "a"}, {2, "b"}, {3, "\n"}}) == 4);
    CHECK(picks({{1, "a"}, {2, "-"}, {3, "-c"}, {4, "d"}, {1, "a"}, {2, "-"}, {3, "-c"}}) ==
          4);  // over two tokens
    CHECK(picks({{1, "a"}, {2, "-"}, {3, "c"}, {4, "d"}, {1, "a"}, {2, "-"}, {3, "c"}}) == 6);
    CHECK(picks({{1, "a"}, {2, "b"}, {3, "c"}, {4, "\n"}, {1, "a"}, {2, "b"}, {3, "c"}}) ==
          4);  // never a breaker
}

TEST_CASE("mirostat keeps the surprise near tau") {
    for (const float tau : {2.0F, 4.0F}) {
        SamplingOptions o = options(1, 0, 1, 0, 3);
        o.mirostat = 2;
        o.mirostat_tau = tau;
        Sampler sampler(o, {});
        double surprise = 0;
        constexpr int n_steps = 400;
        for (uint32_t i = 0; i < n_steps; ++i) {
            auto row = random_row(2000, i);
            const auto raw = row;
            const int32_t token = sampler.sample(row.data(), 2000);
            surprise += (tea::LogitRow(raw.data(), 2000).log_total() -
                         static_cast<double>(raw[static_cast<size_t>(token)])) /
                        std::log(2.0) / n_steps;
        }
        // Of what is kept, whose surprise is a little less than in the whole.
        CHECK(surprise > static_cast<double>(tau) - 0.5);
        CHECK(surprise < static_cast<double>(tau) + 1.5);
    }
}

TEST_CASE("log_total makes probabilities of logits") {
    const auto row = random_row(500, 4);
    const double total = tea::LogitRow(row.data(), 500).log_total();
    double sum = 0;
    for (const float logit : row) {
        sum += std::exp(static_cast<double>(logit) - total);
    }
    CHECK(std::abs(sum - 1) < 1e-6);
}

TEST_CASE("the same seed gives the same tokens, another seed others") {
    const auto draw = [](uint64_t seed) {
        Sampler sampler(options(1, 0, 1, 0, seed), {});
        std::vector<int32_t> tokens;
        for (uint32_t i = 0; i < 50; ++i) {
            auto row = random_row(300, i);
            tokens.push_back(sampler.sample(row.data(), 300));
        }
        return tokens;
    };
    CHECK(draw(1) == draw(1));
    CHECK(draw(1) != draw(2));
}

TEST_CASE("tokens come with the probabilities of the definition") {
    const std::vector<SamplingOptions> all{options(1, 40, 0.95F, 0.05F), options(0.7F, 0, 0.9F, 0),
                                           options(1.5F, 0, 1, 0.02F),   options(1, 0, 1, 0),
                                           options(2, 5, 1, 0),          options(1, 300, 0.5F, 0),
                                           options(0.3F, 20, 0.99F, 0),  options(1, 0, 0.999F, 0.5F)};
    for (const auto& o : all) {
        const auto row = random_row(200, 9);
        const auto expected = reference(row, o);
        Sampler sampler(o, {});
        std::map<int32_t, double> seen;
        constexpr int n_draws = 20000;
        for (int i = 0; i < n_draws; ++i) {
            auto copy = row;
            seen[sampler.sample(copy.data(), 200)] += 1.0 / n_draws;
        }
        for (const auto& [token, probability] : seen) {
            CHECK(expected.count(token) == 1);
        }
        for (const auto& [token, probability] : expected) {
            // Five standard deviations, and two draws for the very rare; the seed is fixed.
            const double deviation = std::sqrt(probability * (1 - probability) / n_draws);
            CHECK(std::abs(seen[token] - probability) <= 5 * deviation + 2.0 / n_draws);
        }
    }
}

TEST_CASE("penalties that look back at everything cost no more the longer the text is") {
    SamplingOptions o;
    o.repeat_penalty = 1.1F;
    o.repeat_last_n = -1;
    const auto cost = [&](int32_t n_tokens) {
        tea::Penalties penalties(o);
        std::vector<float> row(64, 1.0F);
        for (int32_t i = 0; i < n_tokens; ++i) {
            penalties.accept(i % 64, "x");
        }
        const std::clock_t start = std::clock();  // processor time: others may be busy
        for (int32_t i = 0; i < 200; ++i) {
            penalties.accept(i % 64, "x");
            penalties.apply(row.data());
        }
        return static_cast<double>(std::clock() - start) + 1;
    };
    cost(64);
    CHECK(cost(64000) < 50 * cost(64));  // counted anew, it is a thousand times
}

TEST_MAIN
