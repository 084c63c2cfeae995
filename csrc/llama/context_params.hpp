#pragma once

#include <cstdint>

#include "llama.h"
#include "llama/decoder.hpp"

// For csrc/llama alone: the engine's options as llama.cpp's parameters.

namespace tea {

// llama.cpp's parameters for a context of n_cells cells.
llama_context_params context_params(const DecoderOptions& options, int32_t n_cells);

// The ggml type of a KV cache element.
ggml_type ggml_type_of(KvType type);

}  // namespace tea
