#pragma once

// The types with blocks of 256 numbers, in groups: quants.hpp

#include <cstdint>

#include "kernels/quants.hpp"

#ifdef TEA_LANES

namespace tea::kernels {

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
