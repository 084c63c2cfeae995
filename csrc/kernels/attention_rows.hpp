#pragma once

#include "kernels/attention_op.hpp"

namespace tea::kernels {

constexpr int64_t max_heads = 8;    // that attend_one computes together
constexpr int64_t max_width = 576;  // of a head

// Computes heads [first, first + n) of one token; they share keys and values, n <= max_heads.
void attend_one(const Attention& op, int64_t token, int64_t first, int64_t n);

}  // namespace tea::kernels
