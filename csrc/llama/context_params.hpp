#pragma once

#include <cstdint>

#include "llama.h"
#include "llama/decoder.hpp"

// For this room alone: what contexts are asked for, in llama.cpp's words.

namespace tea {

// What a context of n_cells cells is asked for.
llama_context_params context_params(const DecoderOptions& options, int32_t n_cells);

// The ggml type of a KV cache element.
ggml_type ggml_type_of(KvType type);

}  // namespace tea
