// Our products of weights and activations against their definition in plain loops, through ggml, as the
// engine reaches them.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "tests/check.hpp"
#include "tests/through_ggml.hpp"

namespace {

std::vector<ggml_type> all_types() {
    return {GGML_TYPE_Q4_0,   GGML_TYPE_Q4_1,   GGML_TYPE_Q5_0,  GGML_TYPE_Q5_1,
            GGML_TYPE_Q8_0,   GGML_TYPE_IQ4_NL, GGML_TYPE_MXFP4, GGML_TYPE_Q2_K,
            GGML_TYPE_Q3_K,   GGML_TYPE_Q4_K,   GGML_TYPE_Q5_K,  GGML_TYPE_Q6_K,
            GGML_TYPE_IQ4_XS, GGML_TYPE_F16,    GGML_TYPE_BF16,  GGML_TYPE_F32};
}

struct Shape {
    int64_t n_inner;
    int64_t n_rows;
    int64_t n_columns;
    int64_t n_experts = 1;
    int64_t n_used = 0;  // experts of each column; 0: one matrix
};

// The operands of a product, and the exact result.
struct Product {
    Product(ggml_type weight_type, const Shape& of) : type(weight_type), s(of) {
        std::mt19937 random(static_cast<uint32_t>(s.n_inner + 7 * s.n_rows + 31 * s.n_columns));
        std::normal_distribution<float> normal;
        weights.resize(static_cast<size_t>(s.n_inner * s.n_rows * s.n_experts));
        std::generate(weights.begin(), weights.end(), [&] { return normal(random); });
        const std::vector<float> importance(static_cast<size_t>(s.n_inner), 1.0F);
        stored.resize(ggml_row_size(type, s.n_inner) * static_cast<size_t>(s.n_rows * s.n_experts));
        ggml_quantize_chunk(type, weights.data(), stored.data(), 0, s.n_rows * s.n_experts, s.n_inner,
                            importance.data());
        if (type != GGML_TYPE_F32) {  // as they are then
            ggml_get_type_traits(type)->to_float(stored.data(), weights.data(),
                                                 s.n_inner * s.n_rows * s.n_experts);
        }
        // Integers, of which each 32 have one of 127: quantized, they stay as they are.
        std::uniform_int_distribution<int> integer(-127, 127);
        for (int64_t i = 0; i < s.n_inner * s.n_columns; ++i) {
            x.push_back(i % 32 == 5 ? 127.0F : static_cast<float>(integer(random)));
        }
        for (int64_t column = 0; column < s.n_columns; ++column) {
            std::vector<int32_t> all(static_cast<size_t>(s.n_experts));
            std::iota(all.begin(), all.end(), 0);
            std::shuffle(all.begin(), all.end(), random);
            experts.insert(experts.end(), all.begin(), all.begin() + s.n_used);
        }
    }

    // By ggml, or by our kernels: as ggml is set up. Of columns [first, first + n).
    std::vector<float> compute(int n_threads, int64_t first, int64_t n) const {
        return tea::test::through_ggml(size_t{64} << 20, n_threads, [&](ggml_context* c) {
            ggml_tensor* a = ggml_new_tensor_3d(c, type, s.n_inner, s.n_rows, s.n_experts);
            std::copy(stored.begin(), stored.end(), static_cast<uint8_t*>(a->data));
            ggml_tensor* b = s.n_used == 0 ? ggml_new_tensor_2d(c, GGML_TYPE_F32, s.n_inner, n)
                                           : ggml_new_tensor_3d(c, GGML_TYPE_F32, s.n_inner, 1, n);
            std::copy_n(x.begin() + first * s.n_inner, n * s.n_inner, static_cast<float*>(b->data));
            if (s.n_used == 0) {
                return ggml_mul_mat(c, a, b);
            }
            ggml_tensor* ids = ggml_new_tensor_2d(c, GGML_TYPE_I32, s.n_used, n);
            std::copy_n(experts.begin() + first * s.n_used, n * s.n_used, static_cast<int32_t*>(ids->data));
            return ggml_mul_mat_id(c, a, b, ids);
        });
    }

    // The largest error, as a share of the largest sum of absolute products.
    double error(const std::vector<float>& found) const {
        double worst = 0;
        double largest = 0;
        const int64_t n_used = std::max<int64_t>(1, s.n_used);
        for (int64_t i = 0; i < s.n_columns * n_used * s.n_rows; ++i) {
            const int64_t column = i / s.n_rows / n_used;
            const int64_t expert = s.n_used == 0 ? 0 : experts[static_cast<size_t>(i / s.n_rows)];
            const float* row = &weights[static_cast<size_t>((expert * s.n_rows + i % s.n_rows) * s.n_inner)];
            double sum = 0;
            double sum_of_sizes = 0;
            for (int64_t k = 0; k < s.n_inner; ++k) {
                const double product = static_cast<double>(row[k]) *
                                       static_cast<double>(x[static_cast<size_t>(column * s.n_inner + k)]);
                sum += product;
                sum_of_sizes += std::abs(product);
            }
            worst = std::max(worst, std::abs(static_cast<double>(found[static_cast<size_t>(i)]) - sum));
            largest = std::max(largest, sum_of_sizes);
        }
        return worst / largest;
    }

    ggml_type type;
    Shape s;
    std::vector<float> weights;
    std::vector<uint8_t> stored;
    std::vector<float> x;
    std::vector<int32_t> experts;
};

double tolerance(ggml_type type) {
    if (!tea::test::has_kernels()) {
        return 1e-2;  // ggml rounds scales of activations to halves, and tables of its own
    }
    return type == GGML_TYPE_BF16 ? 4e-3 : type == GGML_TYPE_F16 ? 1e-3 : 1e-6;
}

std::vector<float> random_numbers(size_t n, std::mt19937& random) {
    std::normal_distribution<float> normal;
    std::vector<float> numbers(n);
    std::generate(numbers.begin(), numbers.end(), [&] { return normal(random); });
    return numbers;
}

}  // namespace

TEST_CASE("a product is its definition, whatever the type, the shape and the threads") {
    const std::vector<Shape> shapes = {
        {32, 16, 1},   {576, 192, 1},      {1536, 96, 8},      {576, 200, 13},      {64, 17, 5},
        {96, 31, 64},  {8192, 33, 9},      {384, 16, 130},     {256, 15, 4},        {320, 300, 3},
        {4128, 48, 2}, {512, 40, 1},       {2304, 33, 3},      {768, 50, 7},        {1280, 17, 20},
        {256, 64, 2},  {512, 40, 1, 8, 2}, {256, 33, 5, 4, 1}, {768, 20, 40, 6, 3},
    };
    for (const ggml_type type : all_types()) {
        for (const Shape& shape : shapes) {
            if (shape.n_inner % ggml_blck_size(type) != 0) {
                continue;
            }
            const Product product(type, shape);
            for (const int n_threads : {1, 5}) {
                const double error = product.error(product.compute(n_threads, 0, shape.n_columns));
                CHECK(error <= tolerance(type));
                if (error > tolerance(type)) {
                    std::fprintf(stderr, "%s, %d x %d x %d, %d experts: off by %g\n", ggml_type_name(type),
                                 static_cast<int>(shape.n_inner), static_cast<int>(shape.n_rows),
                                 static_cast<int>(shape.n_columns), static_cast<int>(shape.n_experts), error);
                }
            }
        }
    }
}

TEST_CASE("a column has the same bits in any company and with any threads") {
    if (!tea::test::has_kernels()) {
        return;
    }
    for (const ggml_type type : all_types()) {
        for (const Shape& shape : {Shape{2304, 37, 21}, Shape{512, 24, 21, 5, 2}, Shape{256, 3, 21}}) {
            const Product product(type, shape);
            const auto all = product.compute(1, 0, shape.n_columns);
            const int64_t n_results = shape.n_rows * std::max<int64_t>(1, shape.n_used);  // of a column
            for (const int64_t n : {1, 2, 3, 4, 5, 9, 12}) {
                for (const int n_threads : {1, 3}) {
                    const int64_t first = shape.n_columns - n - 1;
                    const auto some = product.compute(n_threads, first, n);
                    CHECK(std::equal(some.begin(), some.end(), all.begin() + first * n_results));
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
