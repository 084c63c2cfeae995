// Our GELU against its definition, through ggml, as the engine reaches it.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/check.hpp"
#include "tests/through_ggml.hpp"

namespace {

std::vector<float> gelu(const std::vector<float>& numbers, int n_threads) {
    return tea::test::through_ggml(size_t{1} << 20, n_threads, [&](ggml_context* c) {
        ggml_tensor* x = ggml_new_tensor_1d(c, GGML_TYPE_F32, static_cast<int64_t>(numbers.size()));
        std::copy(numbers.begin(), numbers.end(), static_cast<float*>(x->data));
        return ggml_gelu(c, x);
    });
}

}  // namespace

TEST_CASE("GELU is its definition, however many numbers and threads there are") {
    for (const size_t n : {1, 7, 16, 1000, 4097}) {
        std::vector<float> numbers;
        for (size_t i = 0; i < n; ++i) {
            numbers.push_back(-12 + 24 * static_cast<float>(i) / static_cast<float>(n));
        }
        for (const int n_threads : {1, 3}) {
            const auto found = gelu(numbers, n_threads);
            double worst = 0;
            for (size_t i = 0; i < n; ++i) {
                const auto x = static_cast<double>(numbers[i]);
                const double y = std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x);
                worst = std::max(worst, std::abs(static_cast<double>(found[i]) - x / 2 * (1 + std::tanh(y))));
            }
            // Where ours is not there, ggml looks it up in a table of halves.
            CHECK(worst < (tea::test::has_kernels() ? 1e-5 : 5e-3));
        }
    }
}

TEST_CASE("GELU of what is far from zero is neither infinite nor no number") {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const auto found = gelu({-1e30F, -1e10F, 0, 1e10F, 6e4F, -infinity, infinity, std::nanf("")}, 1);
    CHECK(found[0] == 0);
    CHECK(found[1] == 0);
    CHECK(found[2] == 0);
    CHECK(std::abs(found[3] - 1e10F) < 1e5F);
    CHECK(std::abs(found[4] - 6e4F) < 1e2F);
    CHECK(found[5] == 0);
    CHECK(found[6] == infinity);
    CHECK(std::isnan(found[7]));
}

TEST_MAIN
