#pragma once

#include <cstddef>

#include "kernels/attention_op.hpp"

namespace tea::kernels {

// Attention of many tokens, 8 or 16 queries at a time: attention_tiles.cpp
bool fits_tiles(const Attention& op);
size_t tiles_work_bytes(const Attention& op, int64_t n_threads);
void attend_in_tiles(const Attention& op, const ggml_compute_params* params);

}  // namespace tea::kernels
