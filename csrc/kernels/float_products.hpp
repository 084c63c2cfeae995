#pragma once

// Products of weights that are floats with columns of activations, along the rows.
//
// Lane l of a register sums the products l, l + n_lanes, l + 2 n_lanes, ... of a row, in that order; then the
// lanes are added, in pairs. So a product has the same bits however many rows and columns are computed
// together.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/ggml_cpu.hpp"
#include "kernels/lanes.hpp"
#include "kernels/rows.hpp"

#ifdef TEA_LANES

namespace tea::kernels {

using namespace lanes;

// A type says how registers of `n_step` weights and activations are loaded and multiplied.
struct TypeF32 {
    static constexpr ggml_type type = GGML_TYPE_F32;
    using Number = float;
    using Activation = float;
    static constexpr int64_t n_step = n_lanes;
    static Floats load_weights(const float* from) { return load_unaligned(from); }
    static Floats load_activations(const float* from) { return load_unaligned(from); }
    static Floats add_products(Floats weights, Floats activations, Floats sums) {
        return multiply_add(weights, activations, sums);
    }
};

struct TypeF16 : TypeF32 {
    static constexpr ggml_type type = GGML_TYPE_F16;
    using Number = uint16_t;
    static Floats load_weights(const uint16_t* from) { return load_halves(from); }
};

struct TypeBF16 : TypeF32 {
    static constexpr ggml_type type = GGML_TYPE_BF16;
    using Number = uint16_t;
    static Floats load_weights(const uint16_t* from) { return as_floats(shift_left<16>(load_words(from))); }
};

#if defined(__AVX512BF16__) && TEA_LANES == 16
#define TEA_HAS_BF16_PAIRS

// BF16 where the CPU multiplies pairs of it; activations are rounded to it, as ggml does.
struct TypeBF16Pairs {
    static constexpr ggml_type type = GGML_TYPE_BF16;
    using Number = uint16_t;
    using Activation = uint16_t;
    static constexpr int64_t n_step = 2 * n_lanes;
    static void convert(const float* from, uint16_t* to) {  // n_lanes numbers
        const __m256bh words = _mm512_cvtneps_pbh(load_unaligned(from));
        std::memcpy(to, &words, sizeof words);
    }
    static __m512bh load_weights(const uint16_t* from) {
        __m512bh pairs;
        std::memcpy(&pairs, from, sizeof pairs);
        return pairs;
    }
    static __m512bh load_activations(const uint16_t* from) { return load_weights(from); }
    static Floats add_products(__m512bh weights, __m512bh activations, Floats sums) {
        return _mm512_dpbf16_ps(sums, weights, activations);
    }
};

#endif

template <typename Type>
class FloatProduct {
    using Number = typename Type::Number;

  public:
    using Activation = typename Type::Activation;
    static constexpr ggml_type type = Type::type;
    static constexpr bool converts = !std::is_same_v<Activation, float>;
    static constexpr int64_t n_inner = converts ? n_lanes : 1;  // a row has a multiple of it
    static constexpr int64_t n_activations = n_inner;           // that convert() makes
    static constexpr int max_columns = n_lanes == 16 ? 6 : 3;   // with four rows: 24 or 12 registers of sums

    // For multiply_rows(): whose activations stay in a core's cache.
    static int64_t most_columns(int64_t n_inner_of_row) {
        constexpr int64_t n_numbers = 65536;
        return std::max<int64_t>(4 * max_columns, n_numbers / n_inner_of_row);
    }

    static void convert(const float* from, Activation* to) {
        if constexpr (converts) {
            Type::convert(from, to);
        }
    }

    // Of the memory for multiply_rows().
    static size_t work_bytes(int64_t n_inner_of_row) {
        return unpacks ? static_cast<size_t>(n_rows * n_inner_of_row) * sizeof(float) : 0;
    }

    static void multiply_rows(const Rows& rows, const Column<Activation>* columns, int64_t n_columns,
                              void* work) {
        for (int64_t first = 0; first < rows.n; first += n_rows) {
            const Number* four[n_rows];
            for (int64_t i = 0; i < n_rows; ++i) {
                four[i] = reinterpret_cast<const Number*>(rows.rows[first + i]);
            }
            const Part part{rows.first + first, std::min(n_rows, rows.n - first), rows.n_inner};
            if constexpr (unpacks) {
                if (n_columns > 2 * max_columns) {
                    const float* unpacked[n_rows];
                    for (int64_t i = 0; i < n_rows; ++i) {
                        auto* to = static_cast<float*>(work) + i * rows.n_inner;
                        unpack(four[i], rows.n_inner, to);
                        unpacked[i] = to;
                    }
                    multiply_tiles<TypeF32>(unpacked, part, columns, n_columns);
                    continue;
                }
            }
            multiply_tiles<Type>(four, part, columns, n_columns);
        }
    }

  private:
    static constexpr int64_t n_rows = 4;  // computed together
    static constexpr bool unpacks = std::is_same_v<Activation, float> && !std::is_same_v<Number, float>;

    struct Part {
        int64_t first_row;
        int64_t n_rows;  // that are stored
        int64_t n_inner;
    };

    // Numbers [first, n), at most n_step - 1, and zeros.
    template <int64_t n_step, typename T>
    static std::array<T, n_step> rest(const T* numbers, int64_t first, int64_t n) {
        std::array<T, n_step> padded{};
        std::copy(numbers + first, numbers + n, padded.begin());
        return padded;
    }

    static void unpack(const Number* row, int64_t n, float* to) {
        int64_t i = 0;
        for (; i + n_lanes <= n; i += n_lanes) {
            store_unaligned(to + i, Type::load_weights(row + i));
        }
        if (i < n) {
            store_first(to + i, n - i, Type::load_weights(rest<n_lanes>(row, i, n).data()));
        }
    }

    template <typename As, int n_columns>
    TEA_FLATTEN static void multiply_tile(const typename As::Number* const* rows, const Part& part,
                                          const Column<Activation>* columns) {
        Floats sums[n_columns][n_rows];
        for (auto& of_column : sums) {
            std::fill_n(of_column, n_rows, zeros());
        }
        const auto add_step = [&](const auto& weights, const auto& activations) {
            decltype(activations(0)) of_columns[n_columns];
            for (int c = 0; c < n_columns; ++c) {
                of_columns[c] = activations(c);
            }
            for (int r = 0; r < n_rows; ++r) {
                const auto of_row = weights(r);
                for (int c = 0; c < n_columns; ++c) {
                    sums[c][r] = As::add_products(of_row, of_columns[c], sums[c][r]);
                }
            }
        };
        const int64_t n = part.n_inner;
        int64_t i = 0;
        for (; i + As::n_step <= n; i += As::n_step) {
            add_step([&](int r) { return As::load_weights(rows[r] + i); },
                     [&](int c) { return As::load_activations(columns[c].activations + i); });
        }
        if (i < n) {
            add_step([&](int r) { return As::load_weights(rest<As::n_step>(rows[r], i, n).data()); },
                     [&](int c) {
                         return As::load_activations(rest<As::n_step>(columns[c].activations, i, n).data());
                     });
        }
        for (int c = 0; c < n_columns; ++c) {
            const auto four = sums_of_four(sums[c][0], sums[c][1], sums[c][2], sums[c][3]);
            std::memcpy(columns[c].results + part.first_row, &four,
                        static_cast<size_t>(part.n_rows) * sizeof(float));
        }
    }

    template <typename As>
    static void multiply_tiles(const typename As::Number* const* rows, const Part& part,
                               const Column<Activation>* columns, int64_t n_columns) {
        for (int64_t c = 0; c < n_columns; c += max_columns) {
            with_constant<max_columns>(n_columns - c,
                                       [&](auto n) { multiply_tile<As, n>(rows, part, columns + c); });
        }
    }
};

}  // namespace tea::kernels

#endif
