#pragma once

#include "kernels/ggml_cpu.hpp"

namespace tea::kernels {

// Computes GGML_OP_FLASH_ATTN_EXT with keys and values of 16 bits: attention.cpp
ggml::cpu::tensor_traits* attention_traits();

}  // namespace tea::kernels
