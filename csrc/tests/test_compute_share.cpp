#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "machine/compute_share.hpp"
#include "tests/check.hpp"

using tea::ComputeShare;

TEST_CASE("who is in a step, or was a moment ago, is counted") {
    ComputeShare one;
    ComputeShare other;
    CHECK(one.begin_step() == 1);
    CHECK(other.begin_step() == 2);
    other.end_step();
    one.end_step();
    CHECK(one.begin_step() == 2);
    one.end_step();
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    CHECK(one.begin_step() == 1);
}

TEST_CASE("who is gone is not") {
    ComputeShare one;
    {
        ComputeShare other;
        CHECK(other.begin_step() == 1);
    }
    CHECK(one.begin_step() == 1);
}

TEST_CASE("more than are counted") {
    std::vector<std::unique_ptr<ComputeShare>> shares;
    for (int i = 0; i < 100; ++i) {
        shares.push_back(std::make_unique<ComputeShare>());
        CHECK(shares.back()->begin_step() == (i < 64 ? i + 1 : 1));
    }
    shares.clear();
    ComputeShare one;
    CHECK(one.begin_step() == 1);
}

TEST_MAIN
