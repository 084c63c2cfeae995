#pragma once

#include "kernels/ggml_cpu.hpp"

namespace tea::kernels {

// Computes GGML_OP_MUL_MAT of a matrix of weights, where its type and this CPU allow: products.cpp
ggml::cpu::tensor_traits* product_traits();

// Whether it takes weights of a type.
bool multiplies(ggml_type type);

}  // namespace tea::kernels
