// Microseconds of one layer's attention, as steps of the engine have it: `n_streams` tokens, each with cells
// of its own, and `n_prompt` tokens of one prompt that all see `n_past` cells. Least CPU time of many, one
// thread.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <random>
#include <vector>

#include "ggml-cpp.h"
#include "ggml-cpu.h"
#include "llama/runtime.hpp"

namespace {

constexpr int n_layers = 24;

struct Step {
    int64_t n_heads;
    int64_t n_key_heads;
    int64_t n_width;
    int64_t n_streams;
    int64_t n_each;  // cells of a stream
    int64_t n_prompt;
    int64_t n_past;
};

double least_us(const Step& s) {
    const int64_t n_tokens = s.n_streams + s.n_prompt;
    const int64_t n_cells = s.n_streams * s.n_each + (s.n_prompt > 0 ? s.n_past + s.n_prompt : 0);
    ggml_context_ptr context(ggml_init({size_t{1} << 30, nullptr, /*no_alloc=*/false}));
    ggml_context* c = context.get();
    ggml_tensor* q = ggml_new_tensor_3d(c, GGML_TYPE_F32, s.n_width, n_tokens, s.n_heads);
    ggml_tensor* mask = ggml_new_tensor_2d(c, GGML_TYPE_F16, n_cells, n_tokens);
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::generate_n(static_cast<float*>(q->data), ggml_nelements(q), [&] { return normal(random); });
    std::vector<ggml_fp16_t> halves(4099);
    std::generate(halves.begin(), halves.end(), [&] { return ggml_fp32_to_fp16(normal(random)); });
    const int64_t n_streamed = s.n_streams * s.n_each;
    for (int64_t token = 0; token < n_tokens; ++token) {
        for (int64_t cell = 0; cell < n_cells; ++cell) {
            const bool is_seen =
                token < s.n_streams
                    ? cell < n_streamed && cell % s.n_streams == token
                    : cell >= n_streamed && cell - n_streamed <= s.n_past + token - s.n_streams;
            static_cast<uint16_t*>(mask->data)[token * n_cells + cell] = is_seen ? 0 : 0xFC00;
        }
    }
    const float scale = 1 / std::sqrt(static_cast<float>(s.n_width));
    ggml_cgraph* graph = ggml_new_graph(c);
    for (int layer = 0; layer < n_layers; ++layer) {
        ggml_tensor* k = ggml_new_tensor_3d(c, GGML_TYPE_F16, s.n_width, n_cells, s.n_key_heads);
        ggml_tensor* v = ggml_new_tensor_3d(c, GGML_TYPE_F16, s.n_width, n_cells, s.n_key_heads);
        for (ggml_tensor* tensor : {k, v}) {
            auto* numbers = static_cast<ggml_fp16_t*>(tensor->data);
            for (int64_t i = 0; i < ggml_nelements(tensor); ++i) {
                numbers[i] = halves[static_cast<size_t>(i) % halves.size()];
            }
        }
        ggml_build_forward_expand(graph, ggml_flash_attn_ext(c, q, k, v, mask, scale, 0, 0));
    }
    ggml_cplan plan = ggml_graph_plan(graph, 1, nullptr);
    std::vector<uint8_t> work(plan.work_size + 64);
    plan.work_data = work.data();
    double least = 1e9;
    for (int i = 0; i < 8; ++i) {
        const std::clock_t start = std::clock();
        ggml_graph_compute(graph, &plan);
        least = std::min(least, 1e6 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
    }
    return least / n_layers;
}

}  // namespace

int main() {
    tea::runtime::initialize();
    std::printf("heads  width  streams x cells  prompt behind  us\n");
    for (const Step& s : {Step{9, 3, 64, 1, 512, 0, 0},
                          {9, 3, 64, 4, 512, 0, 0},
                          {9, 3, 64, 4, 512, 1, 2000},
                          {9, 3, 64, 4, 512, 4, 2000},
                          {9, 3, 64, 4, 512, 8, 2000},
                          {9, 3, 64, 4, 512, 12, 2000},
                          {9, 3, 64, 4, 512, 32, 2000},
                          {9, 3, 64, 4, 512, 64, 2000},
                          {14, 2, 64, 8, 512, 0, 0},
                          {32, 8, 128, 1, 2048, 0, 0},
                          {32, 8, 128, 8, 256, 0, 0},
                          {32, 32, 128, 1, 1024, 0, 0},
                          {8, 4, 256, 4, 512, 0, 0},
                          {8, 2, 80, 4, 512, 0, 0}}) {
        std::printf("%2d/%-2d  %5d  %7d x %-5d  %6d %-6d  %8.1f\n", static_cast<int>(s.n_heads),
                    static_cast<int>(s.n_key_heads), static_cast<int>(s.n_width),
                    static_cast<int>(s.n_streams), static_cast<int>(s.n_each), static_cast<int>(s.n_prompt),
                    static_cast<int>(s.n_past), least_us(s));
        std::fflush(stdout);
    }
}
