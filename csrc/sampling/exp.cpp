#include "sampling/exp.hpp"

#include <algorithm>
#include <array>

namespace tea {

namespace {

template <typename Function>
double sum_of(const float* values, int32_t n, float largest, Function function) {
    constexpr int32_t n_block = 128;
    std::array<float, n_block> block;
    double total = 0;
    for (int32_t first = 0; first < n; first += n_block) {
        const int32_t n_here = std::min(n_block, n - first);
        for (int32_t i = 0; i < n_here; ++i) {
            block[static_cast<size_t>(i)] = function(values[first + i] - largest);
        }
        std::fill(block.begin() + n_here, block.end(), 0.0F);
        // By halves: sums that do not wait for each other.
        for (size_t half = n_block / 2; half > 0; half /= 2) {
            for (size_t i = 0; i < half; ++i) {
                block[i] += block[half + i];
            }
        }
        total += static_cast<double>(block[0]);
    }
    return total;
}

}  // namespace

double sum_of_exp(const float* values, int32_t n, float largest) {
    return sum_of(values, n, largest, [](float x) { return exp_of_negative(x); });
}

double sum_of_exp_bound(const float* values, int32_t n, float largest) {
    return sum_of(values, n, largest, [](float x) { return exp_of_negative_bound(x); });
}

}  // namespace tea
