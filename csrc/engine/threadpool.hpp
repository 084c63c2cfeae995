#pragma once

#include <cstdint>
#include <memory>

#include "ggml.h"

namespace tea {

struct ThreadpoolDeleter {
    void operator()(ggml_threadpool* pool) const;
};
// ggml's workers. Free the contexts that use one before it.
using ThreadpoolPtr = std::unique_ptr<ggml_threadpool, ThreadpoolDeleter>;

// The calling thread becomes the pool's first worker when it computes. Throws Error{inference}.
ThreadpoolPtr make_threadpool(int32_t n_threads);

}  // namespace tea
