#pragma once

// The softmax of attention, in powers of two, so that its bits do not depend on which cells are computed
// together.
//
// A weight is 2^(score - highest), where `highest` is the largest score so far, rounded to an integer. When
// it grows, the sums so far are multiplied by a power of two, which rounds nothing. So sums over the cells in
// their order are the same whether the cells come in blocks, one by one, or between cells that are hidden.

#include "kernels/attention_op.hpp"
#include "kernels/lanes.hpp"

#ifdef TEA_LANES

namespace tea::kernels {

constexpr float log2_of_e = 1.44269504F;
constexpr float hidden_score = -2e38F;  // of a cell that a token does not see: its weight is 0
constexpr float lowest_power = -1e30F;  // before any cell was seen

// Queries are multiplied by it; then products with keys are what score_of() takes.
inline float query_scale(const Attention& op) {
    return op.softcap == 0 ? op.scale * log2_of_e : op.scale / op.softcap;
}

inline lanes::Floats score_of(const Attention& op, lanes::Floats product) {
    using namespace lanes;
    if (op.softcap != 0) {  // tanh(x) = 1 - 2 / (exp(2 x) + 1)
        const Floats cap = every(op.softcap * log2_of_e);
        product = multiply_add(divide(every(-2), add(exp(add(product, product)), every(1))), cap, cap);
    }
    return maximum(every(hidden_score), product);  // of NaN: NaN
}

// 2^(score - highest)
inline lanes::Floats weight_of(lanes::Floats score, lanes::Floats highest) {
    using namespace lanes;
    const Floats power = nearest_integers(score);
    const Floats x = subtract(score, power);
    // The polynomial of degree 6 whose largest relative error for -1/2 <= x <= 1/2 is the least: 2e-9.
    Floats factor = multiply_add(every(1.5345811e-4F), x, every(1.3399931e-3F));
    factor = multiply_add(factor, x, every(9.6184891e-3F));
    factor = multiply_add(factor, x, every(5.5503286e-2F));
    factor = multiply_add(factor, x, every(2.4022646e-1F));
    factor = multiply_add(factor, x, every(6.9314718e-1F));
    factor = multiply_add(factor, x, every(1));
    return times_powers(factor, subtract(power, highest));
}

// What the sums so far are multiplied by when `highest` grows.
inline lanes::Floats shrinking(lanes::Floats before, lanes::Floats highest) {
    return lanes::times_powers(lanes::every(1), lanes::subtract(before, highest));
}

}  // namespace tea::kernels

#endif
