// Our attention kernel against its definition in plain loops, through ggml, as the engine reaches it.

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "tests/check.hpp"
#include "tests/through_ggml.hpp"

namespace {

enum class Mask { random, causal, blocks, prefix };

struct Shape {
    int64_t n_width;  // of a head
    int64_t n_heads;
    int64_t n_key_heads;
    int64_t n_tokens;
    int64_t n_cells;
    double n_hidden;  // share of the cells, with a random mask
    float softcap = 0;
    Mask mask = Mask::random;
    float max_bias = 0;  // ALiBi
    bool has_sinks = false;
};

constexpr float hidden = -std::numeric_limits<float>::infinity();

float sink(int64_t head) {
    return static_cast<float>(head % 5) - 1;
}

// As the paper has it, for a number of heads that need not be a power of two (arXiv 2108.12409).
double slope(const Shape& s, int64_t head) {
    if (s.max_bias == 0) {
        return 1;
    }
    const double n_low = std::exp2(std::floor(std::log2(static_cast<double>(s.n_heads))));
    const auto h = static_cast<double>(head);
    return h < n_low ? std::pow(2, -static_cast<double>(s.max_bias) / n_low * (h + 1))
                     : std::pow(2, -static_cast<double>(s.max_bias) / 2 / n_low * (2 * (h - n_low) + 1));
}

std::vector<float> random_numbers(size_t n, std::mt19937& random) {
    std::normal_distribution<float> normal;
    std::vector<float> numbers(n);
    std::generate(numbers.begin(), numbers.end(), [&] { return normal(random); });
    return numbers;
}

// What half precision makes of them, in place; and the halves.
std::vector<ggml_fp16_t> halve(std::vector<float>& numbers) {
    std::vector<ggml_fp16_t> halves(numbers.size());
    ggml_fp32_to_fp16_row(numbers.data(), halves.data(), static_cast<int64_t>(numbers.size()));
    ggml_fp16_to_fp32_row(halves.data(), numbers.data(), static_cast<int64_t>(numbers.size()));
    return halves;
}

struct Inputs {
    std::vector<float> q, k, v, mask;
    std::vector<ggml_fp16_t> k_half, v_half, mask_half;
};

Inputs make_inputs(const Shape& s) {
    std::mt19937 random(static_cast<uint32_t>(s.n_tokens + 7 * s.n_cells + 31 * s.n_width));
    Inputs in;
    in.q = random_numbers(static_cast<size_t>(s.n_width * s.n_tokens * s.n_heads), random);
    in.k = random_numbers(static_cast<size_t>(s.n_width * s.n_cells * s.n_key_heads), random);
    in.v = random_numbers(static_cast<size_t>(s.n_width * s.n_cells * s.n_key_heads), random);
    std::bernoulli_distribution is_hidden(s.n_hidden);
    const auto mask_of = [&](int64_t token, int64_t cell) {
        switch (s.mask) {
            case Mask::causal:
                return cell <= s.n_cells - s.n_tokens + token ? 0.0F : hidden;
            case Mask::prefix:  // three quarters are common, the rest is everyone's own
                return 4 * cell < 3 * s.n_cells || cell % s.n_tokens == token ? 0.0F : hidden;
            case Mask::blocks:
                return 3 * cell / s.n_cells == 3 * token / s.n_tokens ? 0.0F : hidden;
            default:
                break;
        }
        const bool sees_nothing = token == 0 && s.n_tokens > 1;
        if (sees_nothing || is_hidden(random)) {
            return hidden;
        }
        return (token + cell) % 7 == 0 ? -0.5F : 0.0F;
    };
    for (int64_t token = 0; token < s.n_tokens; ++token) {
        for (int64_t cell = 0; cell < s.n_cells; ++cell) {
            in.mask.push_back(mask_of(token, cell));
        }
    }
    in.mask.back() = 0;
    in.k_half = halve(in.k);
    in.v_half = halve(in.v);
    in.mask_half = halve(in.mask);
    return in;
}

std::vector<float> attend(const Shape& s, const Inputs& in, int n_threads) {
    return tea::test::through_ggml(size_t{64} << 20, n_threads, [&](ggml_context* c) {
        ggml_tensor* q = ggml_new_tensor_3d(c, GGML_TYPE_F32, s.n_width, s.n_tokens, s.n_heads);
        ggml_tensor* k = ggml_new_tensor_3d(c, GGML_TYPE_F16, s.n_width, s.n_cells, s.n_key_heads);
        ggml_tensor* v = ggml_new_tensor_3d(c, GGML_TYPE_F16, s.n_width, s.n_cells, s.n_key_heads);
        ggml_tensor* mask = ggml_new_tensor_2d(c, GGML_TYPE_F16, s.n_cells, s.n_tokens);
        const auto fill = [](ggml_tensor* tensor, const auto& values) {
            std::copy(values.begin(), values.end(),
                      static_cast<std::decay_t<decltype(values[0])>*>(tensor->data));
        };
        fill(q, in.q);
        fill(k, in.k_half);
        fill(v, in.v_half);
        fill(mask, in.mask_half);
        const float scale = 1 / std::sqrt(static_cast<float>(s.n_width));
        ggml_tensor* out = ggml_flash_attn_ext(c, q, k, v, mask, scale, s.max_bias, s.softcap);
        if (s.has_sinks) {
            ggml_tensor* sinks = ggml_new_tensor_1d(c, GGML_TYPE_F32, s.n_heads);
            for (int64_t head = 0; head < s.n_heads; ++head) {
                static_cast<float*>(sinks->data)[head] = sink(head);
            }
            ggml_flash_attn_ext_add_sinks(out, sinks);
        }
        return out;
    });
}

// Of tokens from `first` on, with the cells spread: `n_gap` - 1 hidden ones before each.
Inputs part_of(const Shape& s, const Inputs& in, int64_t first, int64_t n_gap) {
    Inputs part;
    for (int64_t head = 0; head < s.n_heads; ++head) {
        const auto begin = in.q.begin() + (head * s.n_tokens + first) * s.n_width;
        part.q.insert(part.q.end(), begin, begin + (s.n_tokens - first) * s.n_width);
    }
    const auto spread = [&](const std::vector<ggml_fp16_t>& halves, int64_t n_each, ggml_fp16_t between) {
        std::vector<ggml_fp16_t> spread_halves;
        for (auto from = halves.begin(); from != halves.end(); from += n_each) {
            spread_halves.insert(spread_halves.end(), static_cast<size_t>((n_gap - 1) * n_each), between);
            spread_halves.insert(spread_halves.end(), from, from + n_each);
        }
        return spread_halves;
    };
    part.k_half = spread(in.k_half, s.n_width, ggml_fp32_to_fp16(3.0F));
    part.v_half = spread(in.v_half, s.n_width, ggml_fp32_to_fp16(-2.0F));
    const std::vector<ggml_fp16_t> mask(in.mask_half.begin() + first * s.n_cells, in.mask_half.end());
    part.mask_half = spread(mask, 1, ggml_fp32_to_fp16(hidden));
    return part;
}

std::vector<float> by_definition(const Shape& s, const Inputs& in) {
    std::vector<float> out;
    const auto row = [&](const std::vector<float>& all, int64_t n_rows, int64_t head, int64_t i) {
        return all.data() + (head * n_rows + i) * s.n_width;
    };
    for (int64_t token = 0; token < s.n_tokens; ++token) {
        for (int64_t head = 0; head < s.n_heads; ++head) {
            const int64_t key_head = head / (s.n_heads / s.n_key_heads);
            std::vector<double> sum(static_cast<size_t>(s.n_width));
            double total = 0;
            for (int64_t cell = 0; cell < s.n_cells; ++cell) {
                const float bias = in.mask[static_cast<size_t>(token * s.n_cells + cell)];
                if (bias == hidden) {
                    continue;
                }
                const float* q = row(in.q, s.n_tokens, head, token);
                const float* k = row(in.k, s.n_cells, key_head, cell);
                double product = 0;
                for (int64_t i = 0; i < s.n_width; ++i) {
                    product += static_cast<double>(q[i]) * static_cast<double>(k[i]);
                }
                product /= std::sqrt(static_cast<double>(s.n_width));
                const auto cap = static_cast<double>(s.softcap);
                const double capped = cap > 0 ? cap * std::tanh(product / cap) : product;
                const double weight = std::exp(capped + static_cast<double>(bias) * slope(s, head));
                const float* v = row(in.v, s.n_cells, key_head, cell);
                for (int64_t i = 0; i < s.n_width; ++i) {
                    sum[static_cast<size_t>(i)] += weight * static_cast<double>(v[i]);
                }
                total += weight;
            }
            total += s.has_sinks ? std::exp(static_cast<double>(sink(head))) : 0;
            for (const double value : sum) {
                out.push_back(static_cast<float>(total > 0 ? value / total : 0));
            }
        }
    }
    return out;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    double largest = a.size() == b.size() ? 0 : 1e9;
    for (size_t i = 0; i < a.size() && largest < 1e9; ++i) {
        const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
        largest = std::isnan(difference) ? 1e9 : std::max(largest, difference);
    }
    return largest;
}

}  // namespace

TEST_CASE("attention is its definition, whatever the shape and the mask") {
    const std::vector<Shape> shapes = {
        {64, 9, 3, 1, 256, 0.5},
        {64, 9, 3, 8, 1280, 0.9},
        {64, 9, 3, 8, 1280, 0},
        {128, 32, 8, 3, 512, 0.95},
        {128, 4, 4, 2, 300, 0.5},
        {256, 4, 1, 5, 700, 0.7, 50},
        {80, 10, 1, 63, 257, 0.5},
        {96, 24, 1, 4, 1024, 0.8},
        {64, 9, 3, 64, 512, 0.5},
        {64, 2, 2, 1, 1, 0},
        {32, 6, 6, 7, 1023, 0.99},
        {64, 16, 1, 2, 5000, 0},
        {64, 9, 3, 100, 600, 0.3},
        {64, 9, 3, 100, 600, 0},
        {32, 12, 12, 70, 70, 0.1},
        {128, 8, 2, 40, 333, 0.2, 30},
        {64, 9, 3, 300, 700, 0, 0, Mask::causal},
        {128, 8, 8, 65, 65, 0, 0, Mask::causal},
        {32, 12, 12, 128, 128, 0, 0, Mask::blocks},
        {64, 9, 3, 17, 1024, 0, 0, Mask::blocks},
        {64, 9, 3, 30, 450, 0, 20, Mask::causal},
        {72, 4, 2, 33, 90, 0, 0, Mask::causal},
        {64, 4, 1, 20, 40, 0, 0, Mask::blocks},
        {64, 9, 3, 32, 1000, 0, 0, Mask::prefix},
        {40, 4, 4, 32, 200, 0, 0, Mask::prefix},
        {192, 16, 1, 24, 150, 0, 0, Mask::causal},
        {576, 16, 1, 16, 100, 0, 0, Mask::causal},
        {64, 12, 4, 5, 300, 0.4, 0, Mask::random, 8},
        {64, 12, 4, 50, 300, 0.4, 0, Mask::random, 8},
        {64, 8, 2, 3, 300, 0.4, 0, Mask::random, 0, true},
        {64, 8, 2, 30, 300, 0, 0, Mask::causal, 0, true},
        {20, 6, 2, 5, 300, 0.4},  // no multiple of 8: ggml's
        {44, 5, 1, 30, 300, 0.4},
    };
    for (const Shape& shape : shapes) {
        const bool is_ours = tea::test::has_kernels() && shape.n_width % 8 == 0;
        const double tolerance = is_ours ? 1e-5 : 8e-3;  // ggml sums halves
        const Inputs inputs = make_inputs(shape);
        const auto expected = by_definition(shape, inputs);
        for (const int n_threads : {1, 2, 7}) {
            CHECK(largest_difference(attend(shape, inputs, n_threads), expected) < tolerance);
        }
    }
}

TEST_CASE("a token has the same bits in any company, with any threads, wherever its cells are") {
    if (!tea::test::has_kernels()) {
        return;
    }
    const std::vector<Shape> shapes = {{64, 9, 3, 150, 700, 0, 0, Mask::causal},
                                       {128, 8, 8, 40, 333, 0.2, 30},
                                       {72, 10, 2, 30, 300, 0.4},
                                       {64, 16, 1, 50, 400, 0, 0, Mask::blocks},
                                       {64, 12, 4, 30, 300, 0.4, 0, Mask::random, 8, true}};
    for (const Shape& shape : shapes) {
        const Inputs inputs = make_inputs(shape);
        const auto all = attend(shape, inputs, 1);
        const auto n_result = static_cast<std::ptrdiff_t>(shape.n_heads * shape.n_width);  // of a token
        for (const int64_t n_tokens : {1, 2, 7, 15, 16, 30}) {
            for (const int64_t n_gap : {1, 3}) {
                const int64_t first = shape.n_tokens - n_tokens;
                Shape some = shape;
                some.n_tokens = n_tokens;
                some.n_cells *= n_gap;
                const auto found =
                    attend(some, part_of(shape, inputs, first, n_gap), 1 + static_cast<int>(n_tokens % 3));
                CHECK(std::equal(found.begin(), found.end(), all.begin() + first * n_result));
            }
        }
    }
}

TEST_CASE("what is infinite in a cell is not in the results of tokens that do not see it") {
    Shape shape{64, 9, 3, 40, 128, 0, 0, Mask::causal};
    Inputs inputs = make_inputs(shape);
    const auto expected = attend(shape, inputs, 2);
    const ggml_fp16_t infinity = ggml_fp32_to_fp16(std::numeric_limits<float>::infinity());
    for (auto* numbers : {&inputs.k_half, &inputs.v_half}) {
        Inputs spoilt = inputs;
        auto& spoilt_numbers = numbers == &inputs.k_half ? spoilt.k_half : spoilt.v_half;
        const int64_t cell = shape.n_cells - 2;  // which only the last two tokens see
        for (int64_t head = 0; head < shape.n_key_heads; ++head) {
            spoilt_numbers[static_cast<size_t>((head * shape.n_cells + cell) * shape.n_width)] = infinity;
        }
        auto found = attend(shape, spoilt, 2);
        const size_t n_seen = found.size() - static_cast<size_t>(2 * shape.n_heads * shape.n_width);
        const bool is_spoilt = std::any_of(found.begin() + static_cast<std::ptrdiff_t>(n_seen), found.end(),
                                           [](float x) { return !std::isfinite(x); });
        if (tea::test::has_kernels()) {  // ggml's tiles spread it
            CHECK(is_spoilt);
            found.resize(n_seen);
            const std::vector<float> rest(expected.begin(),
                                          expected.begin() + static_cast<std::ptrdiff_t>(n_seen));
            CHECK(largest_difference(found, rest) < 2e-3);
        }
    }
}

TEST_MAIN
