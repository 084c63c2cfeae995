#pragma once

#include "ggml-backend.h"

extern "C" {

// Has ggml's CPU backend compute by our kernels what they take. Call it before anything is computed; more
// than once does nothing more. Where the backend is a module, each has one of its own (backend_modules.cpp):
// not to be called by a static initializer, since modules for other CPUs are opened, too, to ask for their
// scores.
//
// Returns whether they multiply weights of all the types that ggml would rearrange in memory of its own. Not
// so with AMX, for which ggml's rearranged weights are kept.
GGML_BACKEND_API bool tea_register_kernels();

// Whether they compute attention with a cache of F16, and products with weights of a type ("q4_K").
GGML_BACKEND_API bool tea_attends();
GGML_BACKEND_API bool tea_multiplies(const char* type);
}
