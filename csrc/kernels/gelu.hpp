#pragma once

#include "kernels/ggml_cpu.hpp"

namespace tea::kernels {

// Computes GGML_UNARY_OP_GELU: gelu.cpp
ggml::cpu::tensor_traits* gelu_traits();

}  // namespace tea::kernels
