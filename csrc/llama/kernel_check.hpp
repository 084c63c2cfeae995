#pragma once

#include <string>
#include <vector>

namespace tea {

struct KernelCheck {
    std::string type;  // of the weights, such as "q4_K"
    double error;      // largest difference to plain loops, as a share of the results' root mean square
    bool is_ours;      // our kernels multiply them
    double gflops;     // 10^9 multiplications and additions a second
    // Where the loader puts such weights: "CPU" as they are; "CPU_REPACK" or "AMX": rearranged.
    std::string memory;
};

// Multiplies matrices with the kernels that a loaded model's weights of these types get, for about `seconds`
// and by `n_threads`, and compares the results with plain loops. 8-bit activations make errors of some 0.01;
// kernels that are wrong make errors of 1.
std::vector<KernelCheck> check_kernels(double seconds, int n_threads);

}  // namespace tea
