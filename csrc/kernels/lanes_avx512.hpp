#pragma once

// Registers with 16 lanes, and what AVX-512 does with them. Included by lanes.hpp only.

#include <immintrin.h>

#include <cstdint>

namespace tea::kernels::lanes {

constexpr int64_t n_lanes = 16;

using Floats = __m512;
using Ints = __m512i;

inline Floats zeros() {
    return _mm512_setzero_ps();
}
inline Floats every(float value) {
    return _mm512_set1_ps(value);
}
inline Floats load(const float* from) {
    return _mm512_load_ps(from);
}
inline Floats load_unaligned(const float* from) {
    return _mm512_loadu_ps(from);
}
inline void store_unaligned(float* to, Floats x) {
    _mm512_storeu_ps(to, x);
}
inline Floats load_first(const float* from, int64_t n) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1 << n) - 1), from);
}
inline void store_first(float* to, int64_t n, Floats x) {
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1 << n) - 1), x);
}
inline void store(float* to, Floats x) {
    _mm512_store_ps(to, x);
}
inline Floats add(Floats a, Floats b) {
    return _mm512_add_ps(a, b);
}
inline Floats subtract(Floats a, Floats b) {
    return _mm512_sub_ps(a, b);
}
inline Floats multiply(Floats a, Floats b) {
    return _mm512_mul_ps(a, b);
}
inline Floats divide(Floats a, Floats b) {
    return _mm512_div_ps(a, b);
}
inline Floats maximum(Floats a, Floats b) {
    return _mm512_max_ps(a, b);
}
inline Floats nearest_integers(Floats x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// x * 2^powers, of integers <= 0
inline Floats times_powers(Floats x, Floats powers) {
    return _mm512_scalef_ps(x, powers);
}
inline Floats multiply_add(Floats a, Floats b, Floats sum) {
    return _mm512_fmadd_ps(a, b, sum);
}
inline Floats subtract_product(Floats a, Floats b, Floats sum) {
    return _mm512_fnmadd_ps(a, b, sum);
}

inline Ints no_ints() {
    return _mm512_setzero_si512();
}
inline Ints every_int(int32_t value) {
    return _mm512_set1_epi32(value);
}
inline Ints load_ints(const void* from) {
    return _mm512_load_si512(from);
}
inline void store_ints(void* to, Ints x) {
    _mm512_store_si512(to, x);
}
inline Ints both(Ints a, Ints b) {
    return _mm512_and_si512(a, b);
}
inline Ints either(Ints a, Ints b) {
    return _mm512_or_si512(a, b);
}
inline Ints subtract_bytes(Ints a, Ints b) {
    return _mm512_sub_epi8(a, b);
}
inline Ints shuffle_bytes_by(Ints x, __m128i positions) {
    return _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(positions));
}
// table[i] for each byte i below 16.
inline Ints look_up(const int8_t (&table)[16], Ints indices) {
    const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), indices);
}
// The high byte of each number of 16 or 32 bits, signed.
inline Ints high_bytes_of_words(Ints x) {
    return _mm512_srai_epi16(x, 8);
}
inline Ints high_bytes_of_ints(Ints x) {
    return _mm512_srai_epi32(x, 24);
}
inline Ints add_ints(Ints a, Ints b) {
    return _mm512_add_epi32(a, b);
}
inline Ints multiply_ints(Ints a, Ints b) {
    return _mm512_mullo_epi32(a, b);
}
// The products of 16-bit numbers, summed by pairs.
inline Ints multiply_words(Ints a, Ints b) {
    return _mm512_madd_epi16(a, b);
}
inline Ints differing(Ints a, Ints b) {
    return _mm512_xor_si512(a, b);
}
template <int n_bits>
Ints shift_right(Ints x) {
    return _mm512_srli_epi32(x, n_bits);
}
template <int n_bits>
Ints shift_left(Ints x) {
    return _mm512_slli_epi32(x, n_bits);
}
inline Floats to_floats(Ints x) {
    return _mm512_cvtepi32_ps(x);
}
inline Floats as_floats(Ints x) {
    return _mm512_castsi512_ps(x);
}
inline Ints as_ints(Floats x) {
    return _mm512_castps_si512(x);
}
// Of the half-precision number in the low 16 bits of each lane.
inline Floats low_halves(Ints x) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x));
}

// quarter(0) to quarter(3 * 4), 128 bits each.
template <typename Quarter>
Ints from_quarters(Quarter quarter) {
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(quarter(0)), quarter(4), 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(quarter(8)), quarter(12), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
// Of the half-precision numbers of eight(0) and eight(8).
template <typename Eight>
Floats from_eight_halves(Eight eight) {
    return _mm512_cvtph_ps(_mm256_set_m128i(eight(8), eight(0)));
}

inline Ints low_pairs(Ints a, Ints b) {
    return _mm512_unpacklo_epi32(a, b);
}
inline Ints high_pairs(Ints a, Ints b) {
    return _mm512_unpackhi_epi32(a, b);
}
inline Ints low_quads(Ints a, Ints b) {
    return _mm512_unpacklo_epi64(a, b);
}
inline Ints high_quads(Ints a, Ints b) {
    return _mm512_unpackhi_epi64(a, b);
}

inline Ints every_byte(int value) {
    return _mm512_set1_epi8(static_cast<char>(value));
}
// `value` in each byte of x that has the bit of the byte of `bits`, else 0.
inline Ints bytes_with(Ints x, Ints bits, int value) {
    return _mm512_maskz_set1_epi8(_mm512_test_epi8_mask(x, bits), static_cast<char>(value));
}
// Of 32 numbers.
inline uint32_t equal_bits(const uint16_t* numbers, uint16_t value) {
    return _mm512_cmpeq_epi16_mask(_mm512_loadu_si512(numbers),
                                   _mm512_set1_epi16(static_cast<int16_t>(value)));
}
// As many half-precision numbers as there are lanes.
inline Floats load_halves(const void* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(from)));
}
// The first n; the rest is 0.
inline Floats load_first_halves(const void* from, int64_t n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(static_cast<__mmask16>((1 << n) - 1), from));
}
// Eight half-precision numbers of each row, from `first` on, by columns.
inline void transpose_halves(const uint16_t* const* rows, int64_t first, Floats columns[8]) {
    Ints x[4];
    for (int64_t i = 0; i < 4; ++i) {
        x[i] = from_quarters([&](int64_t row) {
            return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[row + i] + first));
        });
    }
    const auto store_two = [](Ints four_rows, Floats* to) {  // two columns of four rows in each quarter
        const Ints order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
        const Ints two = _mm512_permutexvar_epi64(order, four_rows);
        to[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(two));
        to[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(two, 1));
    };
    const Ints low01 = _mm512_unpacklo_epi16(x[0], x[1]);
    const Ints low23 = _mm512_unpacklo_epi16(x[2], x[3]);
    const Ints high01 = _mm512_unpackhi_epi16(x[0], x[1]);
    const Ints high23 = _mm512_unpackhi_epi16(x[2], x[3]);
    store_two(low_pairs(low01, low23), columns);
    store_two(high_pairs(low01, low23), columns + 2);
    store_two(low_pairs(high01, high23), columns + 4);
    store_two(high_pairs(high01, high23), columns + 6);
}
// The first n lanes of x, the others of y.
inline Floats first_or(int64_t n, Floats x, Floats y) {
    return _mm512_mask_mov_ps(y, static_cast<__mmask16>((1 << n) - 1), x);
}
inline float first_of(Floats x) {
    return _mm512_cvtss_f32(x);
}
inline float largest(Floats x) {
    return _mm512_reduce_max_ps(x);
}
// As many numbers of 16 bits as there are lanes.
inline Ints load_words(const void* from) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(from)));
}
// The sum of the four quarters.
inline __m128 sum_of_quarters(Floats x) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

// Sums of two neighbouring products of bytes: unsigned ones (signed ones, if is_signed) by signed ones.
template <bool is_signed>
Ints products_of_pairs(Ints bytes, Ints signed_bytes) {
    if constexpr (is_signed) {  // signed_bytes take the signs of the bytes
        const Ints negative = _mm512_sub_epi8(_mm512_setzero_si512(), signed_bytes);
        signed_bytes = _mm512_mask_mov_epi8(signed_bytes, _mm512_movepi8_mask(bytes), negative);
        bytes = _mm512_abs_epi8(bytes);
    }
    return _mm512_maddubs_epi16(bytes, signed_bytes);
}
inline Ints add_words(Ints a, Ints b) {
    return _mm512_add_epi16(a, b);
}
#ifdef __AVX512VNNI__
#define TEA_WIDE_SUMS  // the CPU sums products of bytes in 32 bits
// sums + four neighbouring products of bytes, unsigned by signed.
inline Ints add_products_of_fours(Ints sums, Ints unsigned_bytes, Ints signed_bytes) {
    return _mm512_dpbusd_epi32(sums, unsigned_bytes, signed_bytes);
}
#endif

}  // namespace tea::kernels::lanes
