#include "ggml-cpu.h"
#include "llama/kernel_check.hpp"
#include "tests/check.hpp"

TEST_CASE("kernels are right, and those that a loaded model gets") {
    const bool has_avx2 = ggml_cpu_has_avx2() != 0;  // with it, ggml rearranges these
    for (const auto& check : tea::check_kernels(/*seconds=*/0.0, /*n_threads=*/1)) {
        CHECK(check.error < 0.1);
        CHECK(check.gflops > 0);
        if (has_avx2 && (check.type == "q4_0" || check.type == "q4_K")) {
            CHECK(check.memory == "CPU_REPACK");
        }
        if (check.type == "f16" || check.type == "q4_1") {
            CHECK(check.memory == "CPU");
        }
    }
}

TEST_MAIN
