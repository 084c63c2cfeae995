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
