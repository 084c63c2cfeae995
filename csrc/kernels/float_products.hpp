#pragma once

// Products of weights that are floats with columns of activations: as many rows as registers have lanes are
// laid out column by column (a panel), and multiplied with up to eight columns at a time, so that unpacking
// is paid once for all, and no sum has to be taken across lanes.

#include <cstdint>
#include <cstring>

#include "kernels/ggml_cpu.hpp"
#include "kernels/lanes.hpp"

#ifdef TEA_LANES

namespace tea::kernels {

using namespace lanes;

constexpr int64_t never = INT64_MAX;

// Weights that are floats, 16 bytes of a row at a time. For fewer columns than min_columns, ggml's kernels
// are faster; with 8 lanes, for any number of F16 and F32.
template <typename Type>
struct FloatPanel {
    static constexpr ggml_type type = Type::type;
    using Activation = float;
    static constexpr bool converts = false;
    static constexpr int64_t n_activations = Type::n_inner;
    static constexpr int64_t min_columns = n_lanes == 16 ? 2 : Type::min_columns;
    static constexpr int max_columns = 8;
    static constexpr int max_direct_columns = 0;
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
    static constexpr int64_t min_columns = never;
    static Floats number(const Ints* columns, int64_t i) {
        return i % 2 == 0 ? low_halves(columns[i / 2]) : high_halves(columns[i / 2]);
    }
};

struct TypeBF16 {
    static constexpr ggml_type type = GGML_TYPE_BF16;
    static constexpr int64_t n_inner = 8;
    static constexpr int64_t min_columns = 32;
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
    static constexpr int max_direct_columns = 0;
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
    static constexpr int64_t min_columns = never;
    static Floats number(const Ints* columns, int64_t i) { return as_floats(columns[i]); }
};

}  // namespace tea::kernels

#endif
