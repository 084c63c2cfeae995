#pragma once

// The quantized types of weights: how blocks of rows are unpacked into registers with a row in each lane. The
// layouts are those of ggml-common.h. A number is
//
//   scale * group's scale * (quant - offset) - minimum * group's minimum
//
// where the groups' scales and minima are integers. Blocks have 32 numbers and no groups, or 256 numbers in
// groups. A type has
//
//   n_inner, n_bytes  numbers and bytes of a block
//   n_group           numbers of a group; n_inner if there are no groups
//   max_quant         the largest quant; quants are unsigned, unless is_signed
//   head(block)       the scale, and the minimum if has_minimum, as floats
//   groups(block)     the scales (and minima) of the groups as bytes, four groups in a register
//   for_each_four(block, visit)
//                     calls visit(i, quants) with numbers 4 i to 4 i + 3 of each row, as bytes; i is a
//                     constant, and ascends within each group

#include <cstdint>
#include <utility>

#include "kernels/lanes.hpp"

#ifdef TEA_LANES

namespace tea::kernels {

using namespace lanes;

// One block of each of n_lanes rows, at the same place in each.
struct Block {
    const uint8_t* const* rows;
    int64_t offset;

    // Bytes [first, first + 4) of each row's block.
    Ints four(int64_t first) const { return column_of(rows, offset + first); }
    Floats half(int64_t first) const { return halves_of(rows, offset + first); }
    // Bytes [first, first + 16), four bytes of each row in a register.
    void sixteen(int64_t first, Ints* columns) const { transpose(rows, offset + first, columns); }
};

struct Head {
    Floats scale;
    Floats minimum;
};

// Bytes of four groups in a register.
template <int n_groups>
struct Groups {
    Ints scales[n_groups / 4];
    Ints minima[n_groups / 4];
};

// Calls visit(i) for i from 0 to n - 1, where i is a constant.
template <typename Visit, int... i>
void for_each(std::integer_sequence<int, i...> /*indices*/, Visit visit) {
    (visit(std::integral_constant<int, i>()), ...);
}
template <int n, typename Visit>
void for_each_index(Visit visit) {
    for_each(std::make_integer_sequence<int, n>(), visit);
}
template <int n>
constexpr std::integral_constant<int, n> index;

// Nibbles of 16 bytes: the low ones are numbers 0 to 15, the high ones 16 to 31.
template <int first, typename Visit>
void for_each_nibble(const Block& block, int64_t first_byte, Visit visit) {
    Ints x[4];
    block.sixteen(first_byte, x);
    for_each_index<4>([&](auto i) {
        visit(index<first + i>, both(x[i], every_byte(0x0F)));
        visit(index<first + 4 + i>, both(shift_right<4>(x[i]), every_byte(0x0F)));
    });
}

// The values of quants of four bits, further apart towards both ends.
constexpr int8_t nonlinear_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                         1,    13,   25,  38,  53,  69,  89,  113};

template <int first, typename Visit>
void for_each_nonlinear(const Block& block, int64_t first_byte, Visit visit) {
    for_each_nibble<first>(block, first_byte,
                           [&](auto i, Ints x) { visit(i, look_up(nonlinear_values, x)); });
}

}  // namespace tea::kernels

#endif
