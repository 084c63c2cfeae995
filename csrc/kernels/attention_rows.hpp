#pragma once

#include "kernels/attention_op.hpp"

namespace tea::kernels {

constexpr int64_t most_heads = 8;    // that attend_one takes together
constexpr int64_t most_width = 576;  // numbers of a head

// Of one token, and its heads [first, first + n), n <= most_heads, which share keys and values.
void attend_one(const Attention& op, int64_t token, int64_t first, int64_t n);

}  // namespace tea::kernels
