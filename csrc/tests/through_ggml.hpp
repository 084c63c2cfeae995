#pragma once

// Has ggml compute an operator, as the engine does.

#include <cstdlib>
#include <functional>
#include <vector>

#include "ggml-cpp.h"
#include "ggml-cpu.h"
#include "llama/runtime.hpp"

namespace tea::test {

// `build` makes the operator, in a context with memory.
inline std::vector<float> through_ggml(size_t n_bytes, int n_threads,
                                       const std::function<ggml_tensor*(ggml_context*)>& build) {
    tea::runtime::initialize();
    ggml_context_ptr context(ggml_init({n_bytes, nullptr, /*no_alloc=*/false}));
    ggml_tensor* out = build(context.get());
    ggml_cgraph* graph = ggml_new_graph(context.get());
    ggml_build_forward_expand(graph, out);
    ggml_graph_compute_with_ctx(context.get(), graph, n_threads);
    const auto* data = static_cast<const float*>(out->data);
    return {data, data + ggml_nelements(out)};
}

// Whether kernels of ours that need AVX2 are in use: they are more accurate than ggml's.
inline bool has_kernels() {
    return ggml_cpu_has_avx2() != 0 && ggml_cpu_has_fma() != 0 && ggml_cpu_has_f16c() != 0 &&
           std::getenv("TEA_LLM_GGML_KERNELS") == nullptr;
}

}  // namespace tea::test
