#include "llama/footprint.hpp"

#include "llama.h"
#include "tests/check.hpp"

using tea::fits_memory;
using tea::Footprint;
using tea::largest_fitting;

namespace {

Footprint footprint(int64_t cache, int64_t compute) {
    Footprint result{};
    result.cache = cache;
    result.compute = compute;
    return result;
}

}  // namespace

TEST_CASE("a cache that grows needs its size twice, one that does not may take a quarter") {
    CHECK(fits_memory(footprint(400, 100), 900, 0, true));
    CHECK(!fits_memory(footprint(401, 100), 900, 0, true));
    CHECK(fits_memory(footprint(200, 25), 900, 0, false));
    CHECK(!fits_memory(footprint(201, 25), 900, 0, false));
}

TEST_CASE("weights that are still to be read from their file need memory, too") {
    CHECK(fits_memory(footprint(400, 100), 1900, 1000, true));
    CHECK(!fits_memory(footprint(400, 100), 1899, 1000, true));
    CHECK(fits_memory(footprint(100, 37), 1900, 5000, true));  // more weights than memory: an eighth is left
    CHECK(!fits_memory(footprint(101, 37), 1900, 5000, true));
}

TEST_CASE("where nothing is known of memory, everything fits") {
    CHECK(fits_memory(footprint(1, 1), -1, 1000, false));
}

TEST_CASE("the largest size that fits is found") {
    for (const int64_t max_cells : {100, 256, 1000, 131072}) {
        for (const int64_t limit : {0, 255, 256, 257, 5000, 1 << 20}) {
            int n_tries = 0;
            const int64_t found = largest_fitting(256, max_cells, [&](int64_t n) {
                ++n_tries;
                return n <= limit;
            });
            const int64_t min_cells = max_cells < 256 ? max_cells : 256;
            const int64_t expected = max_cells <= limit ? max_cells : limit / 256 * 256;
            CHECK(found == (expected < min_cells ? min_cells : expected));
            CHECK(n_tries <= 11);
        }
    }
}

TEST_CASE("limits are those of llama.cpp") {
    CHECK(tea::max_sequences == static_cast<int32_t>(llama_max_parallel_sequences()));
    CHECK(tea::padded_cells(1) == 256 && tea::padded_cells(256) == 256 && tea::padded_cells(257) == 512);
}

TEST_MAIN
