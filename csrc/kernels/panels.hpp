#pragma once

// Types of weights, as products.cpp multiplies them: as many rows as registers have lanes are laid out column
// by column (a panel), and multiplied with up to eight columns of activations at a time, so that what
// unpacking costs is shared, and no sum has to be taken across lanes.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/ggml_cpu.hpp"
#include "kernels/lanes.hpp"

#ifdef TEA_LANES

namespace tea::kernels {

using namespace lanes;

// 32 activations: each is about scale * quants[i].
struct ActivationBlock {
    int8_t quants[32];
    float scale;
    float sum;  // of scale * quants[i]
};

// Weights in blocks of 32: scale * quant + minimum, with quants of unsigned bytes.
template <typename Type>
struct BlockPanel {
    static constexpr ggml_type type = Type::type;
    using Activation = ActivationBlock;
    static constexpr bool converts = true;       // activations
    static constexpr int64_t n_activations = 1;  // for a Panel
    static constexpr int64_t min_columns = 1;
    static constexpr int max_columns =
        n_lanes == 16 ? 8 : 4;                         // that are multiplied together: two registers each
    static constexpr int64_t n_inner = 32;             // numbers of a row in a Panel
    static constexpr int64_t n_bytes = Type::n_bytes;  // of them in memory
    static constexpr int64_t n_depth = 4096;           // numbers of a row that are multiplied in one go

    struct Panel {
        alignas(4 * n_lanes) uint8_t quants[Type::n_registers][4 * n_lanes];
        alignas(4 * n_lanes) float scales[n_lanes];
        alignas(4 * n_lanes) float minima[n_lanes];
    };

    static Activation convert(const float* x) {
        // The bits of floats without their sign are in the order of the floats.
        uint32_t most = 0;
        for (int i = 0; i < 32; ++i) {
            uint32_t bits = 0;
            std::memcpy(&bits, x + i, sizeof bits);
            most = std::max(most, bits & 0x7FFFFFFFU);
        }
        float largest = 0;
        std::memcpy(&largest, &most, sizeof largest);
        const float inverse = largest > 0 ? 127 / largest : 0;
        Activation block;
        int32_t sum = 0;
        for (int i = 0; i < 32; ++i) {
            // Where floats have no fractions, adding rounds to the nearest, and the low bits are the number.
            const float shifted = x[i] * inverse + 12582912.0F;  // 1.5 * 2^23
            int32_t bits = 0;
            std::memcpy(&bits, &shifted, sizeof bits);
            block.quants[i] = static_cast<int8_t>(bits & 0xFF);
            sum += block.quants[i];
        }
        block.scale = largest / 127;
        block.sum = block.scale * static_cast<float>(sum);
        return block;
    }

    static void pack(const uint8_t* const* rows, int64_t offset, Panel& panel) {
        Type::pack(rows, offset, panel);
    }

    template <int n_columns>
    static void add_product(const Panel& panel, const Activation* const* columns, int64_t block,
                            Floats* sums) {
        Ints totals[n_columns];
        for (int c = 0; c < n_columns; ++c) {
            totals[c] = no_ints();
        }
        Type::for_each_four(panel, [&](Ints four, int64_t i) {
            for (int c = 0; c < n_columns; ++c) {
                totals[c] = add_products(totals[c], four, every_four_bytes(columns[c][block].quants + 4 * i));
            }
        });
        const Floats scales = load(panel.scales);
        const Floats minima = load(panel.minima);
        for (int c = 0; c < n_columns; ++c) {
            const Activation& activation = columns[c][block];
            sums[c] =
                multiply_add(to_floats(total(totals[c])), multiply(scales, every(activation.scale)), sums[c]);
            sums[c] = multiply_add(minima, every(activation.sum), sums[c]);
        }
    }
};

struct TypeQ4_1 {
    static constexpr ggml_type type = GGML_TYPE_Q4_1;
    static constexpr int64_t n_bytes = 20;  // two halves (scale and minimum), 32 times four bits
    static constexpr int64_t n_registers = 4;

    template <typename Panel>
    static void pack(const uint8_t* const* rows, int64_t offset, Panel& panel) {
        const Ints head = column_of(rows, offset);
        store(panel.scales, low_halves(head));
        store(panel.minima, high_halves(head));
        Ints columns[4];
        transpose(rows, offset + 4, columns);
        for (int i = 0; i < 4; ++i) {
            store_ints(panel.quants[i], columns[i]);
        }
    }

    // The first 16 numbers are the low four bits of the 16 bytes.
    template <typename Panel, typename Visit>
    static void for_each_four(const Panel& panel, Visit visit) {
        const Ints low_bits = every_int(0x0F0F0F0F);
        for (int64_t i = 0; i < 4; ++i) {
            const Ints quants = load_ints(panel.quants[i]);
            visit(both(quants, low_bits), i);
            visit(both(shift_right<4>(quants), low_bits), 4 + i);
        }
    }
};

struct TypeQ8_0 {
    static constexpr ggml_type type = GGML_TYPE_Q8_0;
    static constexpr int64_t n_bytes = 34;  // a half (scale), 32 signed bytes
    static constexpr int64_t n_registers = 8;

    template <typename Panel>
    static void pack(const uint8_t* const* rows, int64_t offset, Panel& panel) {
        const Floats scales = low_halves(column_of(rows, offset));
        store(panel.scales, scales);
        store(panel.minima, multiply(scales, every(-128)));
        for (int i = 0; i < 2; ++i) {
            Ints columns[4];
            transpose(rows, offset + 2 + 16 * i, columns);
            for (int j = 0; j < 4; ++j) {  // plus 128, which makes them unsigned
                store_ints(panel.quants[4 * i + j], differing(columns[j], every_int(-0x7F7F7F80)));
            }
        }
    }

    template <typename Panel, typename Visit>
    static void for_each_four(const Panel& panel, Visit visit) {
        for (int64_t i = 0; i < n_registers; ++i) {
            visit(load_ints(panel.quants[i]), i);
        }
    }
};

// Weights that are floats, 16 bytes of a row at a time.
template <typename Type>
struct FloatPanel {
    static constexpr ggml_type type = Type::type;
    using Activation = float;
    static constexpr bool converts = false;
    static constexpr int64_t n_activations = Type::n_inner;
    static constexpr int64_t min_columns = 2;  // for one, ggml's kernels are faster
    static constexpr int max_columns = 8;
    static constexpr int64_t n_inner = Type::n_inner;
    static constexpr int64_t n_bytes = 16;
    static constexpr int64_t n_depth = 1024;

    struct Panel {
        alignas(4 * n_lanes) float numbers[n_inner][n_lanes];
    };

    static void pack(const uint8_t* const* rows, int64_t offset, Panel& panel) {
        Ints columns[4];
        transpose(rows, offset, columns);
        for (int64_t i = 0; i < n_inner; ++i) {
            store(panel.numbers[i], Type::number(columns, i));
        }
    }

    template <int n_columns>
    static void add_product(const Panel& panel, const float* const* columns, int64_t block, Floats* sums) {
        for (int64_t i = 0; i < n_inner; ++i) {
            const Floats numbers = load(panel.numbers[i]);
            for (int c = 0; c < n_columns; ++c) {
                sums[c] = multiply_add(numbers, every(columns[c][block * n_inner + i]), sums[c]);
            }
        }
    }
};

struct TypeF16 {
    static constexpr ggml_type type = GGML_TYPE_F16;
    static constexpr int64_t n_inner = 8;
    static Floats number(const Ints* columns, int64_t i) {
        return i % 2 == 0 ? low_halves(columns[i / 2]) : high_halves(columns[i / 2]);
    }
};

struct TypeBF16 {
    static constexpr ggml_type type = GGML_TYPE_BF16;
    static constexpr int64_t n_inner = 8;
    static Floats number(const Ints* columns, int64_t i) {
        return as_floats(i % 2 == 0 ? shift_left<16>(columns[i / 2])
                                    : both(columns[i / 2], every_int(-0x10000)));
    }
};

#if defined(__AVX512BF16__) && TEA_LANES == 16

// BF16 where the CPU multiplies pairs of it; activations are rounded to it, as ggml does.
struct PairPanel {
    struct Activation {
        __m128bh numbers;  // eight
    };
    static constexpr ggml_type type = GGML_TYPE_BF16;
    static constexpr bool converts = true;
    static constexpr int64_t n_activations = 1;
    static constexpr int64_t min_columns = 2;
    static constexpr int max_columns = 8;
    static constexpr int64_t n_inner = 8;
    static constexpr int64_t n_bytes = 16;
    static constexpr int64_t n_depth = 2048;

    struct Panel {
        alignas(4 * n_lanes) uint16_t pairs[n_inner / 2][2 * n_lanes];
    };

    static Activation convert(const float* x) { return {_mm256_cvtneps_pbh(_mm256_loadu_ps(x))}; }

    static void pack(const uint8_t* const* rows, int64_t offset, Panel& panel) {
        Ints columns[4];
        transpose(rows, offset, columns);
        for (int64_t i = 0; i < 4; ++i) {
            store_ints(panel.pairs[i], columns[i]);
        }
    }

    template <int n_columns>
    static void add_product(const Panel& panel, const Activation* const* columns, int64_t block,
                            Floats* sums) {
        for (int64_t i = 0; i < n_inner / 2; ++i) {
            const Ints pairs = load_ints(panel.pairs[i]);
            for (int c = 0; c < n_columns; ++c) {
                const Ints pair =
                    every_four_bytes(reinterpret_cast<const uint8_t*>(columns[c] + block) + 4 * i);
                sums[c] = _mm512_dpbf16_ps(sums[c], as_pairs(pairs), as_pairs(pair));
            }
        }
    }

  private:
    static __m512bh as_pairs(Ints x) {
        __m512bh pairs;
        std::memcpy(&pairs, &x, sizeof pairs);
        return pairs;
    }
};

#else

using PairPanel = FloatPanel<TypeBF16>;

#endif

struct TypeF32 {
    static constexpr ggml_type type = GGML_TYPE_F32;
    static constexpr int64_t n_inner = 4;
    static Floats number(const Ints* columns, int64_t i) { return as_floats(columns[i]); }
};

}  // namespace tea::kernels

#endif
