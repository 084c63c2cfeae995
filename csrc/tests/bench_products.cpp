// GOPS of products of weights, which lie in no cache, with columns of activations: least CPU time of one
// thread, or wall time of several. Kernels of ours unless TEA_LLM_GGML_KERNELS is set; a type with "+" is
// repacked by ggml.
//
//   bench_products [TYPES [COLUMNS [N_INNER N_ROWS [THREADS [SECONDS]]]]]

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "ggml-cpp.h"
#include "ggml-cpu.h"
#include "llama/runtime.hpp"

namespace {

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> words;
    std::stringstream stream(text);
    for (std::string word; std::getline(stream, word, ',');) {
        words.push_back(word);
    }
    return words;
}

ggml_type type_named(const std::string& name) {
    for (int i = 0; i < GGML_TYPE_COUNT; ++i) {
        const char* known = ggml_type_name(static_cast<ggml_type>(i));
        if (known != nullptr && name == known) {
            return static_cast<ggml_type>(i);
        }
    }
    std::fprintf(stderr, "no type %s\n", name.c_str());
    std::exit(1);
}

double now(int n_threads) {
    timespec t{};
    clock_gettime(n_threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

ggml_backend_buffer_type_t repacked_buffer_type() {
    const auto get = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(ggml_backend_reg_get_proc_address(
        ggml_backend_reg_by_name("CPU"), "ggml_backend_dev_get_extra_bufts"));
    for (auto* type = get(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)); *type != nullptr; ++type) {
        if (std::string(ggml_backend_buft_name(*type)) == "CPU_REPACK") {
            return *type;
        }
    }
    std::fprintf(stderr, "ggml repacks nothing on this CPU\n");
    std::exit(1);
}

struct Shape {
    int64_t n_inner;
    int64_t n_rows;
};

void measure(std::string name, const Shape& shape, const std::vector<std::string>& columns, int n_threads,
             double seconds) {
    const bool is_repacked = name.back() == '+';
    std::printf("%-8s", name.c_str());
    if (is_repacked) {
        name.pop_back();
    }
    const ggml_type type = type_named(name);
    const size_t n_bytes = ggml_row_size(type, shape.n_inner) * static_cast<size_t>(shape.n_rows);
    const size_t n_copies = std::max<size_t>(2, (size_t{96} << 20) / n_bytes + 1);
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> numbers(static_cast<size_t>(shape.n_inner * shape.n_rows));
    for (size_t i = 0; i < numbers.size(); ++i) {
        numbers[i] = i < 65536 ? normal(random) : numbers[i % 65521];
    }
    const std::vector<float> importance(static_cast<size_t>(shape.n_inner), 1.0F);
    std::vector<char> packed(n_bytes);
    ggml_quantize_chunk(type, numbers.data(), packed.data(), 0, shape.n_rows, shape.n_inner,
                        importance.data());
    ggml_context_ptr held(ggml_init({(n_copies + 8) * ggml_tensor_overhead(), nullptr, /*no_alloc=*/true}));
    std::vector<ggml_tensor*> weights(n_copies);
    for (auto& tensor : weights) {
        tensor = ggml_new_tensor_2d(held.get(), type, shape.n_inner, shape.n_rows);
    }
    ggml_backend_ptr cpu(ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr));
    ggml_backend_buffer_ptr memory(ggml_backend_alloc_ctx_tensors_from_buft(
        held.get(), is_repacked ? repacked_buffer_type() : ggml_backend_cpu_buffer_type()));
    for (auto* tensor : weights) {
        ggml_backend_tensor_set(tensor, packed.data(), 0, n_bytes);
    }
    ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
    ggml_threadpool_t pool = ggml_threadpool_new(&params);
    ggml_backend_cpu_set_n_threads(cpu.get(), n_threads);
    ggml_backend_cpu_set_threadpool(cpu.get(), pool);
    double bytes_per_second = 0;
    for (const auto& text : columns) {
        const int64_t n = std::stoll(text);
        ggml_context_ptr context(
            ggml_init({(2 * n_copies + 8) * ggml_tensor_overhead() + ggml_graph_overhead(), nullptr,
                       /*no_alloc=*/true}));
        ggml_tensor* x = ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, shape.n_inner, n);
        ggml_cgraph* graph = ggml_new_graph(context.get());
        for (auto* tensor : weights) {
            ggml_build_forward_expand(graph, ggml_mul_mat(context.get(), tensor, x));
        }
        ggml_backend_buffer_ptr buffer(ggml_backend_alloc_ctx_tensors(context.get(), cpu.get()));
        std::vector<float> activations(static_cast<size_t>(shape.n_inner * n));
        std::generate(activations.begin(), activations.end(), [&] { return normal(random); });
        ggml_backend_tensor_set(x, activations.data(), 0, activations.size() * sizeof(float));
        double least = 1e9;
        double elapsed = 0;
        for (int run = 0; elapsed < seconds || run < 3; ++run) {
            const double begin = now(n_threads);
            ggml_backend_graph_compute(cpu.get(), graph);
            const double took = now(n_threads) - begin;
            least = std::min(least, took);
            elapsed += took;
        }
        const auto n_products =
            static_cast<double>(shape.n_inner * shape.n_rows * n) * static_cast<double>(n_copies);
        std::printf(" %7.1f", 2e-9 * n_products / least);
        std::fflush(stdout);
        bytes_per_second = std::max(bytes_per_second, static_cast<double>(n_bytes * n_copies) / least);
    }
    std::printf("   %5.1f GB/s\n", 1e-9 * bytes_per_second);
    ggml_threadpool_free(pool);
}

}  // namespace

int main(int argc, char** argv) {
    const auto argument = [&](int i, const char* otherwise) {
        return std::string(argc > i ? argv[i] : otherwise);
    };
    tea::runtime::initialize();
    const auto columns = split(argument(2, "1,2,4,8,16,64,512"));
    std::printf("%-8s", "columns");
    for (const auto& n : columns) {
        std::printf(" %7s", n.c_str());
    }
    std::printf("   most bytes of weights\n");
    const Shape shape{std::stoll(argument(3, "2048")), std::stoll(argument(4, "4096"))};
    for (const auto& name : split(argument(1, "q4_K,q6_K,q5_K,q4_0,q4_1,q8_0"))) {
        measure(name, shape, columns, std::stoi(argument(5, "1")), std::stod(argument(6, "0.5")));
    }
}
