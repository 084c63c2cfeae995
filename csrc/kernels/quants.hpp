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

// Blocks of 32 numbers

struct Block32 {
    static constexpr int n_inner = 32;
    static constexpr int n_group = 32;
    static constexpr int offset = 0;
    static constexpr bool has_minimum = false;
    static constexpr bool is_signed = false;
};

// The first two bytes are the scale, a half.
struct ScaledBlock : Block32 {
    static Head head(const Block& block) { return {block.half(0), zeros()}; }
};

// The first four bytes are scale and minimum, which is added.
struct ShiftedBlock : Block32 {
    static constexpr bool has_minimum = true;
    static Head head(const Block& block) {
        const Ints x = block.four(0);
        return {low_halves(x), subtract(zeros(), high_halves(x))};
    }
};

struct TypeQ4_0 : ScaledBlock {
    static constexpr ggml_type type = GGML_TYPE_Q4_0;
    static constexpr int n_bytes = 18;
    static constexpr int max_quant = 15;
    static constexpr int offset = 8;
    template <typename Visit>
    static void for_each_four(const Block& block, Visit visit) {
        for_each_nibble<0>(block, 2, visit);
    }
};

struct TypeQ4_1 : ShiftedBlock {
    static constexpr ggml_type type = GGML_TYPE_Q4_1;
    static constexpr int n_bytes = 20;
    static constexpr int max_quant = 15;
    template <typename Visit>
    static void for_each_four(const Block& block, Visit visit) {
        for_each_nibble<0>(block, 4, visit);
    }
};

// The fifth bits of all 32 numbers, then their nibbles.
template <typename Visit>
void for_each_five_bits(const Block& block, int64_t first_byte, Visit visit) {
    const Ints bits = block.four(first_byte);
    for_each_nibble<0>(block, first_byte + 4, [&](auto i, Ints nibbles) {
        constexpr int first = i % 2 * 4;  // bit of the byte
        const Ints mine = every_int(0x08040201 << first);
        visit(i, either(nibbles, bytes_with(shuffle_bytes<i / 2, i / 2, i / 2, i / 2>(bits), mine, 16)));
    });
}

struct TypeQ5_0 : ScaledBlock {
    static constexpr ggml_type type = GGML_TYPE_Q5_0;
    static constexpr int n_bytes = 22;
    static constexpr int max_quant = 31;
    static constexpr int offset = 16;
    template <typename Visit>
    static void for_each_four(const Block& block, Visit visit) {
        for_each_five_bits(block, 2, visit);
    }
};

struct TypeQ5_1 : ShiftedBlock {
    static constexpr ggml_type type = GGML_TYPE_Q5_1;
    static constexpr int n_bytes = 24;
    static constexpr int max_quant = 31;
    template <typename Visit>
    static void for_each_four(const Block& block, Visit visit) {
        for_each_five_bits(block, 4, visit);
    }
};

struct TypeQ8_0 : ScaledBlock {
    static constexpr ggml_type type = GGML_TYPE_Q8_0;
    static constexpr int n_bytes = 34;
    static constexpr int max_quant = 128;
    static constexpr bool is_signed = true;
    template <typename Visit>
    static void for_each_four(const Block& block, Visit visit) {
        for_each_index<2>([&](auto half) {
            Ints x[4];
            block.sixteen(2 + 16 * half, x);
            for_each_index<4>([&](auto i) { visit(index<4 * half + i>, x[i]); });
        });
    }
};

// The values of quants of four bits, further apart towards both ends.
constexpr int8_t nonlinear_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                         1,    13,   25,  38,  53,  69,  89,  113};

template <int first, typename Visit>
void for_each_nonlinear(const Block& block, int64_t first_byte, Visit visit) {
    for_each_nibble<first>(block, first_byte,
                           [&](auto i, Ints x) { visit(i, look_up(nonlinear_values, x)); });
}

struct TypeIQ4_NL : ScaledBlock {
    static constexpr ggml_type type = GGML_TYPE_IQ4_NL;
    static constexpr int n_bytes = 18;
    static constexpr int max_quant = 127;
    static constexpr bool is_signed = true;
    template <typename Visit>
    static void for_each_four(const Block& block, Visit visit) {
        for_each_nonlinear<0>(block, 2, visit);
    }
};

// Floats of four bits; the scale is a power of two. We take twice the float, plus 12, as the quant.
constexpr int8_t float_values[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

struct TypeMXFP4 : Block32 {
    static constexpr ggml_type type = GGML_TYPE_MXFP4;
    static constexpr int n_bytes = 17;
    static constexpr int max_quant = 24;
    static constexpr int offset = 12;
    static Head head(const Block& block) {
        alignas(4 * n_lanes) uint32_t scales[n_lanes];
        for (int64_t lane = 0; lane < n_lanes; ++lane) {
            const uint32_t exponent = block.rows[lane][block.offset];
            scales[lane] = exponent < 2 ? UINT32_C(0x00200000) << exponent : (exponent - 1) << 23;
        }
        return {as_floats(load_ints(scales)), zeros()};
    }
    template <typename Visit>
    static void for_each_four(const Block& block, Visit visit) {
        for_each_nibble<0>(block, 1, [&](auto i, Ints x) { visit(i, look_up(float_values, x)); });
    }
};

// Blocks of 256 numbers

struct Block256 {
    static constexpr int n_inner = 256;
    static constexpr int offset = 0;
    static constexpr bool has_minimum = false;
    static constexpr bool is_signed = false;
};

// Groups of 32 whose scales and minima have six bits: Q4_K and Q5_K
struct SixBitGroups : Block256 {
    static constexpr int n_group = 32;
    static constexpr bool has_minimum = true;
    static Head head(const Block& block) {
        const Ints x = block.four(0);
        return {low_halves(x), high_halves(x)};
    }
    // Bytes 4 to 7 are scales of the first four groups, 8 to 11 their minima; above them are the highest two
    // bits of those of the last four groups, whose other bits are the nibbles of bytes 12 to 15.
    static Groups<8> groups(const Block& block) {
        Ints x[4];
        block.sixteen(0, x);
        const Ints low = every_byte(0x0F);
        const Ints high = every_byte(0x30);
        return {{both(x[1], every_byte(0x3F)), either(both(x[3], low), both(shift_right<2>(x[1]), high))},
                {both(x[2], every_byte(0x3F)),
                 either(both(shift_right<4>(x[3]), low), both(shift_right<2>(x[2]), high))}};
    }
};

struct TypeQ4_K : SixBitGroups {
    static constexpr ggml_type type = GGML_TYPE_Q4_K;
    static constexpr int n_bytes = 144;
    static constexpr int max_quant = 15;
    template <typename Visit>
    static void for_each_four(const Block& block, Visit visit) {
        for_each_index<8>([&](auto i) {
            constexpr int first = i / 2 * 16 + i % 2 * 4;
            Ints x[4];
            block.sixteen(16 + 16 * i, x);
            for_each_index<4>([&](auto j) {
                visit(index<first + j>, both(x[j], every_byte(0x0F)));
                visit(index<first + 8 + j>, both(shift_right<4>(x[j]), every_byte(0x0F)));
            });
        });
    }
};

// Moves bit `from` of each byte to bit `to`. The other bits are undefined: mask them.
template <int from, int to>
Ints move_bits(Ints x) {
    if constexpr (from < to) {
        return shift_left<to - from>(x);
    } else if constexpr (from > to) {
        return shift_right<from - to>(x);
    } else {
        return x;
    }
}

struct TypeQ5_K : SixBitGroups {
    static constexpr ggml_type type = GGML_TYPE_Q5_K;
    static constexpr int n_bytes = 176;
    static constexpr int max_quant = 31;
    template <typename Visit>
    static void for_each_four(const Block& block, Visit visit) {
        Ints high[8];  // bit g of a byte is the fifth bit of a number of group g
        block.sixteen(16, high);
        block.sixteen(32, high + 4);
        for_each_index<8>([&](auto i) {
            constexpr int group = i / 2 * 2;
            Ints x[4];
            block.sixteen(48 + 16 * i, x);
            for_each_index<4>([&](auto j) {
                constexpr int at = i % 2 * 4 + j;
                const Ints fifth = every_byte(0x10);
                visit(index<8 * group + at>,
                      either(both(x[j], every_byte(0x0F)), both(move_bits<group, 4>(high[at]), fifth)));
                visit(index<8 * group + 8 + at>, either(both(shift_right<4>(x[j]), every_byte(0x0F)),
                                                        both(move_bits<group + 1, 4>(high[at]), fifth)));
            });
        });
    }
};

struct TypeQ6_K : Block256 {
    static constexpr ggml_type type = GGML_TYPE_Q6_K;
    static constexpr int n_bytes = 210;
    static constexpr int n_group = 16;
    static constexpr int max_quant = 63;
    static constexpr int offset = 32;
    static Head head(const Block& block) { return {block.half(208), zeros()}; }
    static Groups<16> groups(const Block& block) {
        Groups<16> found;
        block.sixteen(192, found.scales);
        return found;
    }
    // Of each 128 numbers: low nibbles of 64 bytes, then their high ones; the upper bits of four numbers, 32
    // apart, are in one byte.
    template <typename Visit>
    static void for_each_four(const Block& block, Visit visit) {
        for_each_index<4>([&](auto i) {
            constexpr int half = i / 2;
            constexpr int first = half * 32 + i % 2 * 4;
            Ints high[4];
            Ints x[4];
            Ints y[4];
            block.sixteen(128 + 16 * i, high);
            block.sixteen(half * 64 + i % 2 * 16, x);
            block.sixteen(half * 64 + i % 2 * 16 + 32, y);
            for_each_index<4>([&](auto j) {
                const Ints low_bits = every_byte(0x0F);
                const Ints high_bits = every_byte(0x30);
                visit(index<first + j>,
                      either(both(x[j], low_bits), both(shift_left<4>(high[j]), high_bits)));
                visit(index<first + 8 + j>,
                      either(both(y[j], low_bits), both(shift_left<2>(high[j]), high_bits)));
                visit(index<first + 16 + j>,
                      either(both(shift_right<4>(x[j]), low_bits), both(high[j], high_bits)));
                visit(index<first + 24 + j>,
                      either(both(shift_right<4>(y[j]), low_bits), both(shift_right<2>(high[j]), high_bits)));
            });
        });
    }
};

// Of each 128 numbers: a byte has two bits of each of four numbers, 32 apart.
template <typename Visit>
void for_each_two_bits(const Block& block, int64_t first_byte, Visit visit) {
    for_each_index<4>([&](auto i) {
        Ints x[4];
        block.sixteen(first_byte + 16 * i, x);
        for_each_index<4>([&](auto part) {
            for_each_index<4>([&](auto j) {
                visit(index<i / 2 * 32 + part * 8 + i % 2 * 4 + j>,
                      both(move_bits<2 * part, 0>(x[j]), every_byte(3)));
            });
        });
    });
}

struct TypeQ3_K : Block256 {
    static constexpr ggml_type type = GGML_TYPE_Q3_K;
    static constexpr int n_bytes = 110;
    static constexpr int n_group = 16;
    static constexpr int max_quant = 7;
    static constexpr int offset = 4;
    static Head head(const Block& block) { return {block.half(108), zeros()}; }
    // Six bits each, minus 32: the nibbles of eight bytes, and two bits of each of four bytes.
    static Groups<16> groups(const Block& block) {
        const Ints x[3] = {block.four(96), block.four(100), block.four(104)};
        Groups<16> found;
        for_each_index<4>([&](auto i) {
            const Ints low = both(i < 2 ? x[i % 2] : shift_right<4>(x[i % 2]), every_byte(0x0F));
            const Ints high = both(move_bits<2 * i, 4>(x[2]), every_byte(0x30));
            found.scales[i] = subtract_bytes(either(low, high), every_byte(32));
        });
        return found;
    }
    template <typename Visit>
    static void for_each_four(const Block& block, Visit visit) {
        Ints high[8];  // bit i of a byte is the third bit of one of numbers 32 i to 32 i + 31
        block.sixteen(0, high);
        block.sixteen(16, high + 4);
        for_each_two_bits(block, 32, [&](auto i, Ints low) {
            visit(i, either(low, both(move_bits<i / 8, 2>(high[i % 8]), every_byte(4))));
        });
    }
};

struct TypeQ2_K : Block256 {
    static constexpr ggml_type type = GGML_TYPE_Q2_K;
    static constexpr int n_bytes = 84;
    static constexpr int n_group = 16;
    static constexpr int max_quant = 3;
    static constexpr bool has_minimum = true;
    static Head head(const Block& block) {
        const Ints x = block.four(80);
        return {low_halves(x), high_halves(x)};
    }
    static Groups<16> groups(const Block& block) {
        Groups<16> found;
        block.sixteen(0, found.scales);
        for (int i = 0; i < 4; ++i) {
            found.minima[i] = both(shift_right<4>(found.scales[i]), every_byte(0x0F));
            found.scales[i] = both(found.scales[i], every_byte(0x0F));
        }
        return found;
    }
    template <typename Visit>
    static void for_each_four(const Block& block, Visit visit) {
        for_each_two_bits(block, 16, visit);
    }
};

struct TypeIQ4_XS : Block256 {
    static constexpr ggml_type type = GGML_TYPE_IQ4_XS;
    static constexpr int n_bytes = 136;
    static constexpr int n_group = 32;
    static constexpr int max_quant = 127;
    static constexpr bool is_signed = true;
    static Head head(const Block& block) { return {block.half(0), zeros()}; }
    // Six bits each, minus 32: the nibbles of bytes 4 to 7, and two bits each from bytes 2 and 3.
    static Groups<8> groups(const Block& block) {
        const Ints low = block.four(4);
        const Ints high = block.four(0);
        Groups<8> found;
        for (int i = 0; i < 2; ++i) {
            found.scales[i] = no_ints();
        }
        for_each_index<8>([&](auto i) {
            const Ints six = either(both(move_bits<4 * i, 0>(low), every_int(0x0F)),
                                    both(move_bits<16 + 2 * i, 4>(high), every_int(0x30)));
            found.scales[i / 4] = either(found.scales[i / 4], move_bits<0, 8 * (i % 4)>(six));
        });
        for (int i = 0; i < 2; ++i) {
            found.scales[i] = subtract_bytes(found.scales[i], every_byte(32));
        }
        return found;
    }
    template <typename Visit>
    static void for_each_four(const Block& block, Visit visit) {
        for_each_index<8>([&](auto group) { for_each_nonlinear<8 * group>(block, 8 + 16 * group, visit); });
    }
};

}  // namespace tea::kernels

#endif
