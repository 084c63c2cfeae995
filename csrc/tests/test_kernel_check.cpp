#include "llama/kernel_check.hpp"
#include "tests/check.hpp"
#include "tests/through_ggml.hpp"

TEST_CASE("kernels are right, and those that a loaded model gets") {
    for (const auto& check : tea::check_kernels(/*seconds=*/0.0, /*n_threads=*/1)) {
        CHECK(check.error < 0.1);
        CHECK(check.gflops > 0);
        if (tea::test::has_kernels() || check.type == "f16" || check.type == "q4_1") {
            CHECK(check.memory == "CPU");  // where they lie, not rearranged
        }
    }
}

TEST_MAIN
