#pragma once

// Vector registers in which each lane belongs to another row of a matrix: 16 lanes with AVX-512, 8 with AVX2.
// TEA_LANES is defined where there are such registers.

#include <cstdint>
#include <cstring>

#include "kernels/ggml_cpu.hpp"  // with MSVC, it also says that there are FMA and F16C

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define TEA_LANES 16
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define TEA_LANES 8
#endif

#if TEA_LANES == 16
#include "kernels/lanes_avx512.hpp"
#elif TEA_LANES == 8
#include "kernels/lanes_avx2.hpp"
#endif

#ifdef TEA_LANES

// Inlines all calls within a function; otherwise unpacked registers would go through memory.
#ifdef __GNUC__
#define TEA_FLATTEN __attribute__((flatten))
#else
#define TEA_FLATTEN
#endif

namespace tea::kernels::lanes {

// In each lane, its bytes a, b, c and d; -1: 0.
template <int a, int b, int c, int d>
Ints shuffle_bytes(Ints x) {
    constexpr auto position = [](int byte, int lane) {
        return static_cast<char>(byte < 0 ? -1 : 4 * lane + byte);
    };
    return shuffle_bytes_by(x, _mm_setr_epi8(position(a, 0), position(b, 0), position(c, 0), position(d, 0),
                                             position(a, 1), position(b, 1), position(c, 1), position(d, 1),
                                             position(a, 2), position(b, 2), position(c, 2), position(d, 2),
                                             position(a, 3), position(b, 3), position(c, 3), position(d, 3)));
}
// Two signed bytes of each lane, as numbers of 16 bits.
template <int a, int b>
Ints words_of_bytes(Ints x) {
    return high_bytes_of_words(shuffle_bytes<-1, a, -1, b>(x));
}
inline Ints every_four_bytes(const void* from) {
    int32_t four = 0;
    std::memcpy(&four, from, sizeof four);
    return every_int(four);
}

inline Floats exp(Floats x) {
    return ggml_v_expf(x);
}

inline Floats high_halves(Ints x) {
    return low_halves(shift_right<16>(x));
}

// Four bytes of each row.
inline Ints column_of(const uint8_t* const* rows, int64_t offset) {
    const auto four = [&](int64_t row) {
        int32_t bytes = 0;
        std::memcpy(&bytes, rows[row] + offset, sizeof bytes);
        return _mm_cvtsi32_si128(bytes);
    };
    const auto pair = [&](int64_t row) { return _mm_unpacklo_epi32(four(row), four(row + 1)); };
    return from_quarters([&](int64_t row) { return _mm_unpacklo_epi64(pair(row), pair(row + 2)); });
}

// A half of each row.
inline Floats halves_of(const uint8_t* const* rows, int64_t offset) {
    const auto half = [&](int64_t row) {
        int16_t bits = 0;
        std::memcpy(&bits, rows[row] + offset, sizeof bits);
        return bits;
    };
    const auto four = [&](int64_t row) {
        __m128i x = _mm_cvtsi32_si128(half(row));
        x = _mm_insert_epi16(x, half(row + 1), 1);
        x = _mm_insert_epi16(x, half(row + 2), 2);
        return _mm_insert_epi16(x, half(row + 3), 3);
    };
    return from_eight_halves([&](int64_t row) { return _mm_unpacklo_epi64(four(row), four(row + 4)); });
}

constexpr int64_t n_line = 64;  // bytes of a cache line

// Brings the line of an address into the cache, which is not read: it may be anywhere.
inline void fetch(const void* from) {
    _mm_prefetch(static_cast<const char*>(from), _MM_HINT_T0);
}

// In each quarter (of 8 lanes: half), four by four numbers; its own inverse.
inline void transpose(const Ints x[4], Ints transposed[4]) {
    const Ints low01 = low_pairs(x[0], x[1]);
    const Ints low23 = low_pairs(x[2], x[3]);
    const Ints high01 = high_pairs(x[0], x[1]);
    const Ints high23 = high_pairs(x[2], x[3]);
    transposed[0] = low_quads(low01, low23);
    transposed[1] = high_quads(low01, low23);
    transposed[2] = low_quads(high01, high23);
    transposed[3] = high_quads(high01, high23);
}

// The sum of the lanes of each of four registers.
inline __m128 sums_of_four(Floats a, Floats b, Floats c, Floats d) {
    const Ints x[4] = {as_ints(a), as_ints(b), as_ints(c), as_ints(d)};
    Ints transposed[4];
    transpose(x, transposed);
    return sum_of_quarters(add(add(as_floats(transposed[0]), as_floats(transposed[1])),
                               add(as_floats(transposed[2]), as_floats(transposed[3]))));
}

// 16 bytes of each row, as four columns of four bytes each.
inline void transpose(const uint8_t* const* rows, int64_t offset, Ints columns[4]) {
    Ints x[4];
    for (int64_t i = 0; i < 4; ++i) {
        x[i] = from_quarters([&](int64_t row) {
            return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[row + i] + offset));
        });
    }
    transpose(x, columns);
}

// Four numbers of each row, from four columns.
inline void store_transposed(const Floats* columns, float* const* rows) {
    Ints x[4];
    Ints quarters[4];
    for (int i = 0; i < 4; ++i) {
        x[i] = as_ints(columns[i]);
    }
    transpose(x, quarters);
    for (int64_t i = 0; i < 4; ++i) {
        alignas(4 * n_lanes) float four[n_lanes / 4][4];
        store_ints(four, quarters[i]);
        for (int64_t j = 0; j < n_lanes / 4; ++j) {
            std::memcpy(rows[4 * j + i], four[j], sizeof four[j]);
        }
    }
}

}  // namespace tea::kernels::lanes

#endif
