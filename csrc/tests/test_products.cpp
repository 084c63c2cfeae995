// Our products of weights and activations against their definition in plain loops, through ggml, as the
// engine reaches them.

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "tests/check.hpp"
#include "tests/through_ggml.hpp"

namespace {

struct Shape {
    int64_t n_inner;
    int64_t n_rows;
    int64_t n_columns;
};

struct Product {
    std::vector<float> found;
    std::vector<double> expected;
    double largest = 0;
};

std::vector<float> random_numbers(size_t n, std::mt19937& random) {
    std::normal_distribution<float> normal;
    std::vector<float> numbers(n);
    std::generate(numbers.begin(), numbers.end(), [&] { return normal(random); });
    return numbers;
}

Product multiply(ggml_type type, const Shape& s, int n_threads) {
    std::mt19937 random(static_cast<uint32_t>(s.n_inner + 7 * s.n_rows + 31 * s.n_columns));
    auto w = random_numbers(static_cast<size_t>(s.n_inner * s.n_rows), random);
    const auto x = random_numbers(static_cast<size_t>(s.n_inner * s.n_columns), random);
    Product product;
    product.found = tea::test::through_ggml(size_t{64} << 20, n_threads, [&](ggml_context* c) {
        ggml_tensor* weights = ggml_new_tensor_2d(c, type, s.n_inner, s.n_rows);
        ggml_quantize_chunk(type, w.data(), weights->data, 0, s.n_rows, s.n_inner, nullptr);
        if (type != GGML_TYPE_F32) {  // as they are then
            ggml_get_type_traits(type)->to_float(weights->data, w.data(), s.n_inner * s.n_rows);
        }
        ggml_tensor* activations = ggml_new_tensor_2d(c, GGML_TYPE_F32, s.n_inner, s.n_columns);
        std::copy(x.begin(), x.end(), static_cast<float*>(activations->data));
        return ggml_mul_mat(c, weights, activations);
    });
    for (int64_t column = 0; column < s.n_columns; ++column) {
        for (int64_t row = 0; row < s.n_rows; ++row) {
            double sum = 0;
            for (int64_t i = 0; i < s.n_inner; ++i) {
                sum += static_cast<double>(w[static_cast<size_t>(row * s.n_inner + i)]) *
                       static_cast<double>(x[static_cast<size_t>(column * s.n_inner + i)]);
            }
            product.expected.push_back(sum);
            product.largest = std::max(product.largest, std::abs(sum));
        }
    }
    return product;
}

}  // namespace

TEST_CASE("a product is its definition, whatever the type, the shape and the threads") {
    const std::vector<Shape> shapes = {
        {32, 16, 1},  {576, 192, 1}, {576, 1536, 1}, {1536, 576, 8}, {576, 200, 13}, {64, 17, 5},
        {96, 31, 64}, {8192, 33, 9}, {384, 16, 130}, {256, 15, 4},   {320, 1000, 3}, {4128, 48, 2},
        {512, 40, 1}, {2048, 33, 3}, {768, 50, 7}, {1280, 17, 20}, {256, 64, 2},
    };
    struct Type {
        ggml_type type;
        double tolerance;  // of the largest result
    };
    // Errors from rounding activations to eight bits, by block; float sums.
    const std::vector<Type> types = {
        {GGML_TYPE_Q4_0, 0.01}, {GGML_TYPE_Q4_1, 0.01}, {GGML_TYPE_Q5_0, 0.01},   {GGML_TYPE_Q5_1, 0.01},
        {GGML_TYPE_Q8_0, 0.01}, {GGML_TYPE_Q2_K, 0.01}, {GGML_TYPE_Q3_K, 0.01},   {GGML_TYPE_Q4_K, 0.01},
        {GGML_TYPE_Q5_K, 0.01}, {GGML_TYPE_Q6_K, 0.01}, {GGML_TYPE_IQ4_NL, 0.01}, {GGML_TYPE_IQ4_XS, 0.01},
        {GGML_TYPE_MXFP4, 0.01}, {GGML_TYPE_F16, 1e-3}, {GGML_TYPE_BF16, 0.01},   {GGML_TYPE_F32, 1e-5}};
    for (const Type& type : types) {
        for (const Shape& shape : shapes) {
            if (shape.n_inner % ggml_blck_size(type.type) != 0) {
                continue;
            }
            for (const int n_threads : {1, 2, 5}) {
                const Product product = multiply(type.type, shape, n_threads);
                double worst = 0;
                for (size_t i = 0; i < product.found.size(); ++i) {
                    worst = std::max(worst,
                                     std::abs(static_cast<double>(product.found[i]) - product.expected[i]));
                }
                CHECK(worst <= type.tolerance * product.largest);
                if (worst > type.tolerance * product.largest) {
                    std::fprintf(stderr, "type %d, %d x %d x %d: off by %g of %g\n", type.type,
                                 static_cast<int>(shape.n_inner), static_cast<int>(shape.n_rows),
                                 static_cast<int>(shape.n_columns), worst, product.largest);
                }
            }
        }
    }
}

TEST_CASE("sums do not overflow where all weights and activations are as large as they can be") {
    constexpr int64_t n_inner = 256;
    constexpr int64_t n_rows = 32;
    const auto found = tea::test::through_ggml(size_t{1} << 20, 1, [&](ggml_context* c) {
        std::vector<float> w;
        std::vector<float> x;
        for (int64_t i = 0; i < n_inner * n_rows; ++i) {
            w.push_back(i % 32 == 0 ? 0.0F : 15.0F);  // quants 0 and 15, minimum 0
        }
        for (int64_t i = 0; i < n_inner; ++i) {
            x.push_back(127);
        }
        ggml_tensor* weights = ggml_new_tensor_2d(c, GGML_TYPE_Q4_1, n_inner, n_rows);
        ggml_quantize_chunk(GGML_TYPE_Q4_1, w.data(), weights->data, 0, n_rows, n_inner, nullptr);
        ggml_tensor* activations = ggml_new_tensor_2d(c, GGML_TYPE_F32, n_inner, 1);
        std::copy(x.begin(), x.end(), static_cast<float*>(activations->data));
        return ggml_mul_mat(c, weights, activations);
    });
    for (const float result : found) {
        CHECK(std::abs(result - 31 * 8 * 15 * 127) < 1);
    }
}

TEST_CASE("operators that follow each other do not disturb each other") {
    std::mt19937 random(1);
    const auto numbers = random_numbers(64 * 64, random);
    const auto chain = [&](int n_threads) {
        return tea::test::through_ggml(size_t{4} << 20, n_threads, [&](ggml_context* c) {
            ggml_tensor* weights = ggml_new_tensor_2d(c, GGML_TYPE_Q4_1, 64, 64);
            ggml_quantize_chunk(GGML_TYPE_Q4_1, numbers.data(), weights->data, 0, 64, 64, nullptr);
            ggml_tensor* x = ggml_new_tensor_2d(c, GGML_TYPE_F32, 64, 20);
            std::copy_n(numbers.begin(), 64 * 20, static_cast<float*>(x->data));
            for (int i = 0; i < 50; ++i) {
                x = ggml_rms_norm(c, ggml_gelu(c, ggml_mul_mat(c, weights, x)), 1e-5F);
            }
            return x;
        });
    };
    const auto expected = chain(1);
    for (const int n_threads : {2, 3, 8}) {
        CHECK(chain(n_threads) == expected);
    }
}

TEST_MAIN
