#pragma once

// What is internal to ggml's CPU backend, of which the kernels are a part; its headers are not clean under
// our warnings.

#ifdef __GNUC__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include "ggml-cpu.h"
#include "traits.h"
#include "vec.h"
#ifdef __GNUC__
#pragma GCC diagnostic pop
#endif

#include <cstddef>
#include <cstdint>

namespace tea::kernels {

constexpr size_t n_align = 64;  // a cache line, and a register at most

constexpr size_t aligned(size_t n_bytes) {
    return (n_bytes + n_align - 1) / n_align * n_align;
}

// The first aligned byte from `memory` on.
inline uint8_t* aligned(void* memory) {
    const auto address = reinterpret_cast<uintptr_t>(memory);
    return static_cast<uint8_t*>(memory) + (aligned(address) - address);
}

}  // namespace tea::kernels
