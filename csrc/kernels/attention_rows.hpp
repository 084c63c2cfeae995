#pragma once

#include <cstdint>

#include "kernels/attention_op.hpp"

namespace tea::kernels {

constexpr int64_t max_width = 576;  // of a head; a multiple of all register sizes

// The cells that a token sees, in their order.
struct SeenCells {
    const int32_t* cells;
    int64_t n;
    bool has_bias;  // one of them has a number in the mask that is not 0
};

// `cells` has room for all cells.
SeenCells find_seen(const Attention& op, int64_t token, int32_t* cells);

// Computes heads [first, end) of one token.
void attend_one(const Attention& op, int64_t token, int64_t first, int64_t end, const SeenCells& seen);

}  // namespace tea::kernels
