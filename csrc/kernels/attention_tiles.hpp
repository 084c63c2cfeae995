#pragma once

#include <cstddef>

#include "kernels/attention_op.hpp"

namespace tea::kernels {

// Attention of many tokens, whose queries are taken 8 or 16 at a time: attention_tiles.cpp
bool has_tiles(const Attention& op);
size_t tiles_work_bytes(const Attention& op, int64_t n_threads);
void attend_in_tiles(const Attention& op, const ggml_compute_params* params);

constexpr int64_t most_heads = 8;    // that attend_one takes together
constexpr int64_t most_width = 576;  // numbers of a head

// Of one token, and its heads [first, first + n), n <= most_heads, which share keys and values: attention.cpp
void attend_one(const Attention& op, int64_t token, int64_t first, int64_t n);

}  // namespace tea::kernels
