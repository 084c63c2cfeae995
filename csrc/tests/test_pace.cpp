#include "planning/pace.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "tests/check.hpp"

using tea::Pace;

namespace {

// Milliseconds that n prompt tokens add to a step, after `past` of their prompt.
using Cost = std::function<double(int32_t n, int32_t past)>;

constexpr double decode_ms = 7;  // of a step of four streams

struct Prompt {
    std::vector<double> stretches;  // of each step with prompt tokens
    int32_t n_steps = 0;
    double worst() const { return *std::max_element(stretches.begin(), stretches.end()); }
};

// A prompt of 4,000 tokens beside four streams.
Prompt compute_prompt(Pace& pace, const Cost& cost) {
    Prompt prompt;
    for (int32_t past = 0; past < 4000; ++prompt.n_steps) {
        const int32_t n = std::min(pace.prompt_chunk(4), 4000 - past);
        const double ms = decode_ms + (n > 0 ? cost(n, past) : 0);
        pace.observe(4, n, ms / 1000);
        past += n;
        if (n > 0) {
            prompt.stretches.push_back(ms / decode_ms);
        }
    }
    return prompt;
}

}  // namespace

TEST_CASE("nobody generates: a prompt takes the whole step") {
    CHECK(Pace(2, 8, 512).prompt_chunk(0) == 512);
}

TEST_CASE("the chunk makes a step take as long as was asked for") {
    Pace pace(3, 8, 512);
    CHECK(pace.prompt_chunk(4) == 0);  // first: how long does it take without?
    pace.observe(4, 0, 0.020);
    CHECK(pace.prompt_chunk(4) == 8);  // then: how long does a prompt token take?
    for (const int32_t n : {8, 16, 32, 64}) {
        CHECK(pace.prompt_chunk(4) == n);
        pace.observe(4, n, 0.020 + n * 0.0005);
    }
    CHECK(pace.prompt_chunk(4) == 80);  // (3 - 1) * 20 ms / 0.5 ms
    CHECK(pace.prompt_chunk(3) == 0);   // other company, other time
}

TEST_CASE("the chunk is never nothing, nor more than a step holds") {
    Pace pace(1.1, 8, 512);
    pace.observe(1, 0, 0.010);
    pace.observe(1, 8, 1.0);
    CHECK(pace.prompt_chunk(1) == 1);
    Pace quick(1000, 8, 512);
    quick.observe(1, 0, 0.010);
    quick.observe(1, 400, 0.010);
    CHECK(quick.prompt_chunk(1) == 512);
    CHECK(Pace(2, 8, 4).prompt_chunk(0) == 4);
}

TEST_CASE("a step stays within the stretch, however costs depend on the chunk") {
    const std::vector<Cost> costs{
        [](int32_t n, int32_t) { return 0.42 * n; },                  // SmolLM2 at a prompt's beginning
        [](int32_t n, int32_t) { return 3 + 0.2 * n; },               // something besides the tokens
        [](int32_t n, int32_t) { return 2 * std::pow(n, 0.6); },      // small chunks are dear
        [](int32_t n, int32_t) { return n < 12 ? n : 4 + n / 2.0; },  // other kernels from 12 on
        [](int32_t n, int32_t past) { return 0.3 * n + past / 3000.0 * (2 + 0.5 * n); },
    };
    for (const auto& cost : costs) {
        Pace pace(2, 8, 512);
        for (int32_t again = 0; again < 3; ++again) {
            const Prompt prompt = compute_prompt(pace, cost);
            CHECK(prompt.worst() < 2.2);
            // Nor are steps left half empty: at least 4 of 5 tokens that would fit.
            int32_t n_fitting = 1;
            while (cost(n_fitting + 1, 4000) <= decode_ms) {
                ++n_fitting;
            }
            CHECK(prompt.n_steps < 10 + 4000 * 66 / 64 / (0.8 * n_fitting));
        }
    }
}

// Measured: SmolLM2, one thread, 3,000 tokens of past. A second token alone would make it 3.9.
TEST_CASE("where few tokens are all that fits, it is one at a time") {
    Pace pace(2, 8, 512);
    const Cost cost = [](int32_t n, int32_t past) {
        return 0.35 * n + past / 3000.0 * (n < 12 ? 9.7 * n : 20 + 2.0 * n);
    };
    CHECK(compute_prompt(pace, cost).worst() < 3);
    CHECK(compute_prompt(pace, cost).worst() < 3);  // what a long prompt taught does not keep a new one small
    CHECK(compute_prompt(pace, cost).n_steps < 3800);
}

TEST_CASE("what large chunks cost says little of small ones") {
    Pace pace(2, 8, 512);
    pace.observe(4, 0, decode_ms / 1000);
    for (int32_t i = 0; i < 20; ++i) {
        pace.observe(0, 512, 0.050);  // alone
        pace.observe(4, 512, 0.057);  // one that is not paced
    }
    const Prompt prompt = compute_prompt(pace, [](int32_t n, int32_t) { return n < 64 ? n : 0.1 * n; });
    std::vector<double> stretches = prompt.stretches;
    std::sort(stretches.begin(), stretches.end());
    CHECK(stretches[stretches.size() * 99 / 100] < 2.2);
}

// Measured: SmolLM2, one thread of a busy machine: 2 tokens in 66 ms, then 4 in 85 and 8 in 120, where 78
// were allowed.
TEST_CASE("chunks that have not been seen for long are as dear as the others have become") {
    for (uint32_t seed = 1; seed <= 20; ++seed) {
        std::mt19937 random(seed);
        Pace pace(2, 8, 512);
        double load = 1;  // of the machine, which makes every step longer
        double worst = 0;
        for (int32_t past = 0, n_steps = 0; past < 12000; ++n_steps) {  // three prompts
            const double attention = past % 4000 / 1000.0;
            if (random() % 100 == 0) {
                load = load > 1 ? 1 : 1.4;
            }
            const int32_t n = std::min(pace.prompt_chunk(4), 4000 - past % 4000);
            const double ms =
                load * (decode_ms + (n > 0 ? 1 + n + attention * (n < 16 ? n : 8 + n / 2.0) : 0));
            pace.observe(4, n, ms / 1000);
            past += n;
            worst = std::max(worst, ms / (load * decode_ms));
        }
        CHECK(worst < 3);  // after a load: its budget, until a step without prompt tokens is measured again
    }
}

TEST_CASE("a short prompt without company teaches nothing") {
    Pace pace(2, 8, 512);
    pace.observe(4, 0, decode_ms / 1000);
    pace.observe(4, 16, 2 * decode_ms / 1000);
    const int32_t chunk = pace.prompt_chunk(4);
    pace.observe(0, 2, 0.006);  // reads all weights for two tokens
    CHECK(pace.prompt_chunk(4) == chunk);
}

TEST_CASE("one step that is held up changes nothing") {
    Pace pace(2, 8, 512);
    for (int32_t i = 0; i < 5; ++i) {
        pace.observe(4, 0, decode_ms / 1000);
    }
    pace.observe(4, 8, decode_ms / 1000 + 8 * 0.0005);
    const int32_t chunk = pace.prompt_chunk(4);
    CHECK(chunk == 14);
    pace.observe(4, 0, 1.0);
    CHECK(pace.prompt_chunk(4) == 0);  // is that how it is now?
    pace.observe(4, 0, decode_ms / 1000);
    CHECK(pace.prompt_chunk(4) == chunk);
    pace.observe(4, 8, 1.0);
    CHECK(pace.prompt_chunk(4) >= chunk / 4);
}

TEST_CASE("when a load comes or goes, the next measured steps tell") {
    Pace pace(2, 8, 512);
    const auto run = [&](double load) {
        for (int32_t i = 0; i < 100; ++i) {
            const int32_t n = pace.prompt_chunk(4);
            pace.observe(4, n, load * (decode_ms + 0.5 * n) / 1000);
        }
        return pace.prompt_chunk(4);
    };
    for (const double load : {1.0, 5.0, 1.0, 5.0}) {
        const int32_t chunk = run(load);
        CHECK((chunk == 0 || (chunk >= 11 && chunk <= 18)));
    }
}

TEST_CASE("while a long prompt lasts, a step without it is measured now and then") {
    Pace pace(2, 8, 512);
    pace.observe(2, 0, 0.010);
    int n_measured = 0;
    for (int step = 0; step < 650; ++step) {
        const int32_t n = pace.prompt_chunk(2);
        n_measured += n == 0 ? 1 : 0;
        pace.observe(2, n, 0.010 + n * 0.001);
    }
    CHECK(n_measured >= 18);
    CHECK(n_measured <= 22);
}

TEST_MAIN
