#pragma once

// The types with blocks of 32 numbers: quants.hpp

#include <cstdint>

#include "kernels/quants.hpp"

#ifdef TEA_LANES

namespace tea::kernels {

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

}  // namespace tea::kernels

#endif
