#pragma once

#include <cstddef>
#include <cstdint>

#include "ggml-backend.h"

// What our kernels are asked for. Where the CPU backend is a module, each has kernels of its own, reached by
// this table alone (backend_modules.cpp).
struct TeaKernels {
    // They multiply weights of all the types that ggml would rearrange in memory of its own. Not so with AMX,
    // for which ggml's rearranged weights are kept.
    bool multiplies_all_types;
    bool attends;                          // with a cache of F16
    bool (*multiplies)(const char* type);  // "q4_K"

    // cell_order.hpp
    void (*begin_copying)(const uint32_t* ranks, size_t n);
    void (*give_ranks_of_read)(void (*take)(void* user_data, const uint32_t* ranks, size_t n),
                               void* user_data);
    void (*end_copying)();
};

extern "C" {

// Has ggml's CPU backend compute by our kernels what they take. Call it before a KV cache is allocated or
// anything is computed; more than once does nothing more. Not to be called by a static initializer, since
// modules for other CPUs are opened, too, to ask for their scores.
GGML_BACKEND_API const TeaKernels* tea_register_kernels();
}
