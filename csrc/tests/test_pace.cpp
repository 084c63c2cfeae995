#include "engine/pace.hpp"
#include "tests/check.hpp"

using tea::Pace;

TEST_CASE("nobody generates: a prompt takes the whole step") {
    CHECK(Pace(2, 8, 512).prompt_chunk(0) == 512);
}

TEST_CASE("the chunk makes a step take as long as was asked for") {
    Pace pace(3, 8, 512);
    CHECK(pace.prompt_chunk(4) == 0);  // first: how long does it take without?
    pace.observe(4, 0, 0.020);
    CHECK(pace.prompt_chunk(4) == 8);  // then: how long does a prompt token take?
    pace.observe(4, 8, 0.020 + 8 * 0.0005);
    CHECK(pace.prompt_chunk(4) == 80);  // (3 - 1) * 20 ms / 0.5 ms
    CHECK(pace.prompt_chunk(3) == 0);   // other company, other time
}

TEST_CASE("the chunk is never nothing, nor more than a step holds") {
    Pace pace(1.1, 8, 512);
    pace.observe(1, 0, 0.010);
    pace.observe(0, 100, 1.0);
    CHECK(pace.prompt_chunk(1) == 2);
    Pace quick(1000, 8, 512);
    quick.observe(1, 0, 0.010);
    quick.observe(0, 100, 0.001);
    CHECK(quick.prompt_chunk(1) == 512);
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
    CHECK(n_measured >= 9);
    CHECK(n_measured <= 11);
}

TEST_MAIN
