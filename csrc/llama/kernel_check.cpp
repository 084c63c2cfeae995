#include "llama/kernel_check.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <random>

#include "base/error.hpp"
#include "ggml-backend.h"
#include "ggml-cpp.h"
#include "ggml.h"
#include "llama/abort_guard.hpp"
#include "llama/backend_modules.hpp"
#include "llama/runtime.hpp"

namespace tea {

namespace {

// A layer of a small model, and a short prompt.
constexpr int64_t n_in = 1024;
constexpr int64_t n_out = 1024;
constexpr int64_t n_tokens = 32;

std::vector<float> random_values(int64_t n, std::mt19937& random) {
    std::normal_distribution<float> distribution;
    std::vector<float> values(static_cast<size_t>(n));
    std::generate(values.begin(), values.end(), [&] { return distribution(random); });
    return values;
}

// The largest difference between `results` and the product by plain loops, over the latter's root mean
// square.
double error_of(const std::vector<float>& results, const std::vector<float>& weights,
                const std::vector<float>& inputs) {
    double largest = 0;
    double squares = 0;
    for (size_t token = 0; token < n_tokens; ++token) {
        for (size_t row = 0; row < n_out; ++row) {
            double sum = 0;
            for (size_t i = 0; i < n_in; ++i) {
                sum += static_cast<double>(weights[row * n_in + i]) * inputs[token * n_in + i];
            }
            squares += sum * sum;
            const double difference = std::abs(sum - results[token * n_out + row]);
            largest = std::isnan(difference) ? INFINITY : std::max(largest, difference);
        }
    }
    return largest / std::sqrt(squares / (n_out * n_tokens));
}

// Where the loader puts the weights of this product: with some types and no kernels of ours, rearranged.
ggml_backend_buffer_type_t buffer_type_of(ggml_backend_dev_t device, const ggml_tensor* product) {
    if (backend_modules::takes_weights_as_they_are()) {
        return ggml_backend_dev_buffer_type(device);
    }
    const auto get_extra =
        reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(ggml_backend_reg_get_proc_address(
            ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts"));
    ggml_tensor* weights = product->src[0];
    for (auto* type = get_extra == nullptr ? nullptr : get_extra(device); type != nullptr && *type != nullptr;
         ++type) {
        const ggml_backend_buffer_ptr empty(ggml_backend_buft_alloc_buffer(*type, 0));
        weights->buffer = empty.get();
        const bool is_taken = ggml_backend_dev_supports_op(device, product);
        weights->buffer = nullptr;
        if (is_taken) {
            return *type;
        }
    }
    return ggml_backend_dev_buffer_type(device);
}

KernelCheck check(ggml_backend_t backend, ggml_type type, double seconds) {
    std::mt19937 random(1);
    const auto exact_weights = random_values(n_in * n_out, random);
    const auto inputs = random_values(n_in * n_tokens, random);
    std::vector<uint8_t> stored(ggml_row_size(type, n_in) * n_out);
    ggml_quantize_chunk(type, exact_weights.data(), stored.data(), 0, n_out, n_in, nullptr);
    std::vector<float> weights = exact_weights;
    if (const auto to_float = ggml_get_type_traits(type)->to_float; to_float != nullptr) {  // else it is F32
        to_float(stored.data(), weights.data(), n_in * n_out);
    }

    const ggml_context_ptr of_weights(ggml_init({ggml_tensor_overhead(), nullptr, true}));
    const ggml_context_ptr context(
        ggml_init({8 * ggml_tensor_overhead() + ggml_graph_overhead(), nullptr, true}));
    ggml_tensor* a = ggml_new_tensor_2d(of_weights.get(), type, n_in, n_out);
    ggml_tensor* b = ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, n_in, n_tokens);
    ggml_tensor* product = ggml_mul_mat(context.get(), a, b);
    ggml_cgraph* graph = ggml_new_graph(context.get());
    ggml_build_forward_expand(graph, product);
    const ggml_backend_buffer_ptr weights_buffer(ggml_backend_alloc_ctx_tensors_from_buft(
        of_weights.get(), buffer_type_of(ggml_backend_get_device(backend), product)));
    const ggml_backend_buffer_ptr buffer(ggml_backend_alloc_ctx_tensors(context.get(), backend));
    if (!buffer || !weights_buffer) {
        throw Error(ErrorKind::inference, "no memory for the self-test's 5 MB");
    }
    ggml_backend_tensor_set(a, stored.data(), 0, stored.size());
    ggml_backend_tensor_set(b, inputs.data(), 0, inputs.size() * sizeof(float));

    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    int64_t n_runs = 0;
    double elapsed = 0;
    for (; elapsed < seconds || n_runs == 0; ++n_runs) {
        if (ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS) {
            throw Error(ErrorKind::inference,
                        std::string("the CPU backend does not multiply ") + ggml_type_name(type));
        }
        elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    }
    std::vector<float> results(static_cast<size_t>(n_out * n_tokens));
    ggml_backend_tensor_get(product, results.data(), 0, results.size() * sizeof(float));
    const double flops = 2.0 * n_in * n_out * n_tokens * static_cast<double>(n_runs);
    return {ggml_type_name(type), error_of(results, weights, inputs),
            backend_modules::multiplies(ggml_type_name(type)), flops / elapsed / 1e9,
            ggml_backend_buffer_name(weights_buffer.get())};
}

std::vector<KernelCheck> check_all(double seconds, int n_threads) {
    const ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    const ggml_backend_ptr backend(ggml_backend_dev_init(cpu, nullptr));
    const auto set_n_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu), "ggml_backend_set_n_threads"));
    set_n_threads(backend.get(), n_threads);
    constexpr std::array types{GGML_TYPE_F32,  GGML_TYPE_F16,    GGML_TYPE_BF16, GGML_TYPE_Q8_0,
                               GGML_TYPE_Q4_0, GGML_TYPE_Q4_1,   GGML_TYPE_Q4_K, GGML_TYPE_Q5_K,
                               GGML_TYPE_Q6_K, GGML_TYPE_IQ4_XS, GGML_TYPE_MXFP4};
    std::vector<KernelCheck> checks;
    checks.reserve(types.size());
    for (const ggml_type type : types) {
        checks.push_back(check(backend.get(), type, seconds / types.size()));
    }
    return checks;
}

}  // namespace

std::vector<KernelCheck> check_kernels(double seconds, int n_threads) {
    runtime::initialize();
    return runtime::guarded(ErrorKind::inference, "the kernels could not be checked",
                            [&](const runtime::Guard&) { return check_all(seconds, n_threads); });
}

}  // namespace tea
