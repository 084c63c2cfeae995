// Random operators that our kernels compute, against plain loops in double. Weights and activations may be
// views with gaps; where they lie is random, too (random_operands.hpp).
//
//   fuzz_kernels [SEED [N_CASES]]     exits with 1 if a result is off by more than rounding explains

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "ggml-cpp.h"
#include "ggml-cpu.h"
#include "llama/runtime.hpp"
#include "tests/random_operands.hpp"

namespace {

using tea::test::between;
using tea::test::Case;
using tea::test::normal;
using tea::test::one_in;
using tea::test::one_of;
using tea::test::Random;

struct Worst {
    int64_t n_cases = 0;
    double ratio = 0;  // of an error to what rounding explains
};
std::map<std::string, Worst> worst_of;
int n_bad = 0;

void note(const std::string& name, double ratio, const std::string& detail) {
    Worst& worst = worst_of[name];
    ++worst.n_cases;
    worst.ratio = std::isnan(ratio) ? INFINITY : std::max(worst.ratio, ratio);
    if (!(ratio <= 1)) {
        ++n_bad;
        std::printf("BAD %s: %g times what rounding explains: %s\n", name.c_str(), ratio, detail.c_str());
    }
}

const char* format(const char* text, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e) {
    static char line[300];
    std::snprintf(line, sizeof line, text, static_cast<long>(a), static_cast<long>(b), static_cast<long>(c),
                  static_cast<long>(d), static_cast<long>(e));
    return line;
}

// What rounding explains of the error of a product, whose exact sum is of `sizes`, the absolute products.
double rounding(ggml_type type, const float* row, const float* x, int64_t n, double sizes) {
    const auto epsilon = static_cast<double>(std::numeric_limits<float>::epsilon());
    if (!ggml_is_quantized(type)) {
        const double of_type = type == GGML_TYPE_F16 ? 1e-3 : type == GGML_TYPE_BF16 ? 8e-3 : 0;
        return sizes * (of_type + 0.02 * std::sqrt(static_cast<double>(n)) * epsilon + 1e-6) + 1e-30;
    }
    const int64_t n_block = ggml_blck_size(type);
    double bound = 0;
    for (int64_t first = 0; first < n; first += n_block) {
        double largest = 0;
        double weights = 0;
        for (int64_t i = first; i < first + n_block; ++i) {
            largest = std::max(largest, std::abs(static_cast<double>(x[i])));
            weights += std::abs(static_cast<double>(row[i]));
        }
        // Activations are rounded to 127 steps. A minimum is multiplied by their sum, which may cancel what
        // quants come to.
        bound += weights * largest * (0.505 / 127 + 32 * epsilon);
    }
    return bound + sizes * 1e-6 + 1e-30;
}

void fuzz_product(Random& random) {
    const auto type = one_of(random, {GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1,
                                      GGML_TYPE_Q8_0, GGML_TYPE_Q2_K, GGML_TYPE_Q3_K, GGML_TYPE_Q4_K,
                                      GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_IQ4_NL, GGML_TYPE_IQ4_XS,
                                      GGML_TYPE_MXFP4, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_F32});
    const int64_t unit =
        ggml_is_quantized(type) ? ggml_blck_size(type) : one_of<int64_t>(random, {1, 4, 8, 8});
    const int64_t n_inner =
        unit * between(random, 1, std::max<int64_t>(2, (one_in(random, 8) ? 9000 : 900) / unit));
    const int64_t n_rows = one_in(random, 8) ? between(random, 1, 900) : between(random, 1, 80);
    const int64_t n_columns = one_of<int64_t>(random, {1, 2, between(random, 1, 9), between(random, 1, 40),
                                                       one_in(random, 4) ? between(random, 1, 600) : 3});
    const bool has_experts = one_in(random, 4);
    const int64_t n_experts = has_experts ? between(random, 1, 9) : 1;
    const int64_t n_used = has_experts ? between(random, 1, n_experts) : 1;
    if (n_inner * n_rows * n_columns * n_used > 8'000'000 || n_inner * n_rows * n_experts > 3'000'000) {
        return;
    }
    Case c(random);
    const size_t gap =
        one_in(random, 4) ? ggml_type_size(type) * static_cast<size_t>(between(random, 1, 3)) : 0;
    ggml_tensor* weights = c.tensor(type, {n_inner, n_rows, n_experts}, gap);
    std::vector<float> exact(static_cast<size_t>(n_inner * n_rows * n_experts));
    const auto scale = std::pow(10.0F, static_cast<float>(between(random, -3, 2)));
    const bool has_outliers = one_in(random, 5);
    std::vector<float> importance(static_cast<size_t>(n_inner), 1.0F);
    for (int64_t i = 0; i < n_rows * n_experts; ++i) {
        float* row = &exact[static_cast<size_t>(i * n_inner)];
        std::generate_n(row, n_inner, [&] {
            return normal(random) * scale * (has_outliers && one_in(random, 50) ? 30.0F : 1.0F);
        });
        char* to = static_cast<char*>(weights->data) + static_cast<size_t>(i) * weights->nb[1];
        ggml_quantize_chunk(type, row, to, 0, 1, n_inner, importance.data());
        if (type != GGML_TYPE_F32) {
            ggml_get_type_traits(type)->to_float(to, row, n_inner);
        }
    }
    const size_t x_gap = one_in(random, 4) ? 4 * static_cast<size_t>(between(random, 1, 7)) : 0;
    const int64_t n_x = has_experts && one_in(random, 2) ? n_used : 1;  // columns of a token
    ggml_tensor* x = has_experts ? c.tensor(GGML_TYPE_F32, {n_inner, n_x, n_columns}, x_gap)
                                 : c.tensor(GGML_TYPE_F32, {n_inner, n_columns}, x_gap);
    const auto x_of = [&](int64_t i) {
        return reinterpret_cast<float*>(static_cast<char*>(x->data) + static_cast<size_t>(i) * x->nb[1]);
    };
    const auto x_scale = std::pow(10.0F, static_cast<float>(between(random, -6, 3)));
    for (int64_t i = 0; i < n_x * n_columns; ++i) {
        const bool is_zero = one_in(random, 20);
        std::generate_n(x_of(i), n_inner, [&] { return is_zero ? 0.0F : normal(random) * x_scale; });
    }
    const int64_t spoilt = n_columns > 1 && one_in(random, 8) ? between(random, 0, n_columns - 1) : -1;
    if (spoilt >= 0) {
        x_of(spoilt * n_x)[between(random, 0, n_inner - 1)] = one_of(random, {NAN, INFINITY, -INFINITY});
    }
    ggml_tensor* ids = nullptr;
    if (has_experts) {
        ids = c.tensor(GGML_TYPE_I32, {n_used, n_columns});
        for (int64_t i = 0; i < n_columns; ++i) {
            std::vector<int32_t> all(static_cast<size_t>(n_experts));
            for (int64_t e = 0; e < n_experts; ++e) {
                all[static_cast<size_t>(e)] = static_cast<int32_t>(e);
            }
            std::shuffle(all.begin(), all.end(), random);
            std::copy_n(all.begin(), n_used, static_cast<int32_t*>(ids->data) + i * n_used);
        }
    }
    const auto n_threads = static_cast<int>(one_of<int64_t>(random, {1, 1, 2, 3, 5, 11}));
    const float* found = c.compute(
        has_experts ? ggml_mul_mat_id(c.context(), weights, x, ids) : ggml_mul_mat(c.context(), weights, x),
        n_threads);
    double worst = 0;
    for (int64_t i = 0; i < n_columns * n_used * n_rows; ++i) {
        const int64_t column = i / n_rows / n_used;
        const int64_t slot = i / n_rows % n_used;
        if (column == spoilt) {
            continue;
        }
        const int64_t expert = has_experts ? static_cast<int32_t*>(ids->data)[column * n_used + slot] : 0;
        const float* row = &exact[static_cast<size_t>((expert * n_rows + i % n_rows) * n_inner)];
        const float* activations = x_of(column * n_x + slot % n_x);
        double sum = 0;
        double sizes = 0;
        for (int64_t k = 0; k < n_inner; ++k) {
            const double product = static_cast<double>(row[k]) * static_cast<double>(activations[k]);
            sum += product;
            sizes += std::abs(product);
        }
        const double ratio =
            std::abs(static_cast<double>(found[i]) - sum) / rounding(type, row, activations, n_inner, sizes);
        worst = std::isnan(ratio) ? INFINITY : std::max(worst, ratio);
    }
    note(std::string(has_experts ? "experts " : "product ") + ggml_type_name(type), worst,
         format("%ld x %ld, %ld columns, %ld experts, %ld threads", n_inner, n_rows, n_columns, n_experts,
                n_threads));
}

void fuzz_gelu(Random& random) {
    Case c(random);
    const int64_t n = between(random, 1, 700);
    const int64_t n_rows = between(random, 1, 5);
    ggml_tensor* x = c.tensor(GGML_TYPE_F32, {n, n_rows});
    auto* numbers = static_cast<float*>(x->data);
    std::generate_n(numbers, n * n_rows, [&] {
        return one_in(random, 30)
                   ? one_of(random, {INFINITY, -INFINITY, NAN, 0.0F, -0.0F, 3e38F, -3e38F, 1e-45F})
                   : normal(random) * std::pow(10.0F, static_cast<float>(between(random, -8, 3)));
    });
    const std::vector<float> given(numbers, numbers + n * n_rows);
    const auto n_threads = static_cast<int>(between(random, 1, 7));
    const float* found = c.compute(ggml_gelu(c.context(), x), n_threads);
    double worst = 0;
    for (size_t i = 0; i < given.size(); ++i) {
        const auto a = static_cast<double>(given[i]);
        const double y = 0.79788456080286535588 * a * (1 + 0.044715 * a * a);
        const double expected = std::isinf(a) ? std::max(a, 0.0) : 0.5 * a * (1 + std::tanh(y));
        const auto result = static_cast<double>(found[i]);
        if (std::isnan(a) ? std::isnan(result) : expected == result) {
            continue;
        }
        const double ratio = std::abs(result - expected) / (std::abs(expected) * 1e-5 + 1e-6);
        worst = std::isnan(ratio) ? INFINITY : std::max(worst, ratio);
    }
    note("gelu", worst, format("%ld x %ld, %ld threads", n, n_rows, n_threads, 0, 0));
}

// Keys and values lie as in a KV cache: all heads of a cell side by side.
void fuzz_attention(Random& random) {
    const int64_t n_key = 8 * between(random, 1, one_in(random, 10) ? 72 : 16);
    const int64_t n_value = one_in(random, 3) ? 8 * between(random, 1, 16) : n_key;
    const int64_t n_key_heads = between(random, 1, 4);
    const int64_t n_heads = n_key_heads * between(random, 1, one_in(random, 10) ? 20 : 9);
    const int64_t n_tokens = one_in(random, 2) ? between(random, 1, 15) : between(random, 16, 90);
    const int64_t n_cells = between(random, 1, one_in(random, 5) ? 3000 : 400);
    if ((n_key + n_value) * n_heads * n_tokens * n_cells > 60'000'000) {
        return;
    }
    Case c(random);
    const size_t gap = one_in(random, 4) ? 16 * static_cast<size_t>(between(random, 1, 3)) : 0;
    ggml_tensor* q = c.tensor(GGML_TYPE_F32, {n_key, n_heads, n_tokens});
    ggml_tensor* k = c.tensor(GGML_TYPE_F16, {n_key, n_key_heads, n_cells}, gap);
    ggml_tensor* v = c.tensor(GGML_TYPE_F16, {n_value, n_key_heads, n_cells}, gap);
    ggml_tensor* mask = c.tensor(GGML_TYPE_F16, {n_cells, n_tokens});
    const auto at = [](const ggml_tensor* tensor, int64_t head, int64_t i) {
        return static_cast<char*>(tensor->data) + static_cast<size_t>(head) * tensor->nb[1] +
               static_cast<size_t>(i) * tensor->nb[2];
    };
    const auto size = std::pow(10.0F, static_cast<float>(between(random, -2, 1)));
    const auto fill = [&](ggml_tensor* tensor, float scale) {
        for (int64_t i = 0; i < tensor->ne[2]; ++i) {
            for (int64_t head = 0; head < tensor->ne[1]; ++head) {
                for (int64_t j = 0; j < tensor->ne[0]; ++j) {
                    const float number = normal(random) * scale;
                    if (tensor->type == GGML_TYPE_F32) {
                        reinterpret_cast<float*>(at(tensor, head, i))[j] = number;
                    } else {
                        reinterpret_cast<ggml_fp16_t*>(at(tensor, head, i))[j] = ggml_fp32_to_fp16(number);
                    }
                }
            }
        }
    };
    fill(q, size);
    fill(k, 1);
    fill(v, one_in(random, 4) ? 100.0F : 1.0F);
    // What a token sees: random cells, or all up to its own. Cells that nobody sees hold NaN.
    const bool is_causal = one_in(random, 2);
    const int64_t one_of_seen = between(random, 1, 6);
    const bool has_bias = one_in(random, 4);
    auto* bias = static_cast<ggml_fp16_t*>(mask->data);
    for (int64_t cell = 0; cell < n_cells; ++cell) {
        const bool is_of_others = one_in(random, 3);
        bool is_seen = false;
        for (int64_t token = 0; token < n_tokens; ++token) {
            const bool sees =
                is_causal ? !is_of_others && cell <= n_cells - n_tokens + token : one_in(random, one_of_seen);
            bias[token * n_cells + cell] =
                ggml_fp32_to_fp16(!sees      ? -INFINITY
                                  : has_bias ? -0.25F * static_cast<float>(cell % 9)
                                             : 0.0F);
            is_seen = is_seen || sees;
        }
        for (int64_t head = 0; !is_seen && head < n_key_heads; ++head) {
            std::fill_n(reinterpret_cast<ggml_fp16_t*>(at(k, head, cell)), n_key, ggml_fp32_to_fp16(NAN));
            std::fill_n(reinterpret_cast<ggml_fp16_t*>(at(v, head, cell)), n_value, ggml_fp32_to_fp16(NAN));
        }
    }
    const float scale = 1 / std::sqrt(static_cast<float>(n_key));
    const float max_bias = one_in(random, 5) ? 8.0F : 0.0F;  // ALiBi
    const float softcap = one_in(random, 5) ? 20.0F : 0.0F;
    const auto permuted = [&](ggml_tensor* tensor) { return ggml_permute(c.context(), tensor, 0, 2, 1, 3); };
    ggml_tensor* out = ggml_flash_attn_ext(c.context(), permuted(q), permuted(k), permuted(v), mask, scale,
                                           max_bias, softcap);
    ggml_tensor* sinks = one_in(random, 5) ? c.tensor(GGML_TYPE_F32, {n_heads}) : nullptr;
    const auto sink_of = [&](int64_t head) { return static_cast<float*>(sinks->data)[head]; };
    if (sinks != nullptr) {
        std::generate_n(static_cast<float*>(sinks->data), n_heads, [&] { return 3 * normal(random); });
        ggml_flash_attn_ext_add_sinks(out, sinks);
    }
    const auto n_threads = static_cast<int>(between(random, 1, 7));
    const float* found = c.compute(out, n_threads);
    double worst = 0;
    std::vector<double> scores(static_cast<size_t>(n_cells));
    for (int64_t token = 0; token < n_tokens; ++token) {
        for (int64_t head = 0; head < n_heads; ++head) {
            const int64_t key_head = head / (n_heads / n_key_heads);
            const auto* query = reinterpret_cast<const float*>(at(q, head, token));
            const double n_low = std::exp2(std::floor(std::log2(static_cast<double>(n_heads))));
            const auto h = static_cast<double>(head);
            const double power = h < n_low ? (h + 1) / n_low : (h - n_low + 0.5) / n_low;
            const double slope = max_bias > 0 ? std::exp2(-static_cast<double>(max_bias) * power) : 1;
            double highest = sinks == nullptr ? -INFINITY : static_cast<double>(sink_of(head));
            double largest = 0;  // of the absolute products
            for (int64_t cell = 0; cell < n_cells; ++cell) {
                double& score = scores[static_cast<size_t>(cell)];
                score = static_cast<double>(ggml_fp16_to_fp32(bias[token * n_cells + cell])) * slope;
                if (std::isinf(score)) {
                    continue;
                }
                const auto* key = reinterpret_cast<const ggml_fp16_t*>(at(k, key_head, cell));
                double product = 0;
                double sizes = 0;
                for (int64_t i = 0; i < n_key; ++i) {
                    const double term = static_cast<double>(query[i]) *
                                        static_cast<double>(ggml_fp16_to_fp32(key[i])) *
                                        static_cast<double>(scale);
                    product += term;
                    sizes += std::abs(term);
                }
                largest = std::max(largest, sizes + std::abs(score));
                score += softcap > 0 ? softcap * std::tanh(product / static_cast<double>(softcap)) : product;
                highest = std::max(highest, score);
            }
            double total = sinks == nullptr ? 0 : std::exp(static_cast<double>(sink_of(head)) - highest);
            std::vector<double> sums(static_cast<size_t>(n_value));
            std::vector<double> sizes(static_cast<size_t>(n_value));
            for (int64_t cell = 0; cell < n_cells; ++cell) {
                if (std::isinf(scores[static_cast<size_t>(cell)])) {
                    continue;
                }
                const double weight = std::exp(scores[static_cast<size_t>(cell)] - highest);
                total += weight;
                const auto* value = reinterpret_cast<const ggml_fp16_t*>(at(v, key_head, cell));
                for (int64_t i = 0; i < n_value; ++i) {
                    const double term = weight * static_cast<double>(ggml_fp16_to_fp32(value[i]));
                    sums[static_cast<size_t>(i)] += term;
                    sizes[static_cast<size_t>(i)] += std::abs(term);
                }
            }
            for (int64_t i = 0; i < n_value; ++i) {
                const double expected = total > 0 ? sums[static_cast<size_t>(i)] / total : 0;
                const double share = total > 0 ? sizes[static_cast<size_t>(i)] / total : 0;
                const double bound =
                    share * (1e-6 * largest + 2e-7 * std::sqrt(static_cast<double>(n_cells)) + 2e-6) + 1e-30;
                const double error =
                    std::abs(static_cast<double>(found[(token * n_heads + head) * n_value + i]) - expected);
                worst = std::isnan(error) ? INFINITY : std::max(worst, error / bound);
            }
        }
    }
    note(n_tokens < 16 ? "attention by rows" : "attention in tiles", worst,
         format("%ld wide, %ld heads, %ld tokens, %ld cells, %ld threads", n_key, n_heads, n_tokens, n_cells,
                n_threads));
}

}  // namespace

int main(int argc, char** argv) {
    const uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
    const uint64_t n_cases = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1000;
    tea::runtime::initialize();
    uint64_t n = 0;
    for (; n < n_cases && n_bad < 20; ++n) {
        Random random(seed * 1'000'003 + n);
        if (one_in(random, 10)) {
            fuzz_gelu(random);
        } else if (one_in(random, 4)) {
            fuzz_attention(random);
        } else {
            fuzz_product(random);
        }
    }
    for (const auto& [name, worst] : worst_of) {
        std::printf("%-18s %7ld cases, at worst %.2f of what rounding explains\n", name.c_str(),
                    static_cast<long>(worst.n_cases), worst.ratio);
    }
    std::printf("seed %lu: %lu cases, %d bad\n", static_cast<unsigned long>(seed),
                static_cast<unsigned long>(n), n_bad);
    return n_bad == 0 ? 0 : 1;
}
