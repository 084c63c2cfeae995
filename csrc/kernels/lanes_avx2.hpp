#pragma once

// Registers with 8 lanes, and what AVX2 does with them. Included by lanes.hpp only.

#include <immintrin.h>

#include <cstdint>

namespace tea::kernels::lanes {

constexpr int64_t n_lanes = 8;

using Floats = __m256;
using Ints = __m256i;

inline Floats zeros() {
    return _mm256_setzero_ps();
}
inline Floats every(float value) {
    return _mm256_set1_ps(value);
}
inline Floats load(const float* from) {
    return _mm256_load_ps(from);
}
inline Floats load_unaligned(const float* from) {
    return _mm256_loadu_ps(from);
}
inline void store_unaligned(float* to, Floats x) {
    _mm256_storeu_ps(to, x);
}
inline Ints is_first(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Floats load_first(const float* from, int64_t n) {
    return _mm256_maskload_ps(from, is_first(n));
}
inline void store_first(float* to, int64_t n, Floats x) {
    _mm256_maskstore_ps(to, is_first(n), x);
}
inline void store(float* to, Floats x) {
    _mm256_store_ps(to, x);
}
inline Floats add(Floats a, Floats b) {
    return _mm256_add_ps(a, b);
}
inline Floats subtract(Floats a, Floats b) {
    return _mm256_sub_ps(a, b);
}
inline Floats multiply(Floats a, Floats b) {
    return _mm256_mul_ps(a, b);
}
inline Floats divide(Floats a, Floats b) {
    return _mm256_div_ps(a, b);
}
inline Floats maximum(Floats a, Floats b) {
    return _mm256_max_ps(a, b);
}
inline Floats nearest_integers(Floats x) {
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// x * 2^powers, of integers <= 0; below 2^-126: x * 0
inline Floats times_powers(Floats x, Floats powers) {
    const Ints exponents = _mm256_cvtps_epi32(_mm256_max_ps(powers, _mm256_set1_ps(-127)));
    const Ints bits = _mm256_slli_epi32(_mm256_add_epi32(exponents, _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(x, _mm256_castsi256_ps(bits));
}
inline Floats multiply_add(Floats a, Floats b, Floats sum) {
    return _mm256_fmadd_ps(a, b, sum);
}
inline Floats subtract_product(Floats a, Floats b, Floats sum) {
    return _mm256_fnmadd_ps(a, b, sum);
}

inline Ints no_ints() {
    return _mm256_setzero_si256();
}
inline Ints every_int(int32_t value) {
    return _mm256_set1_epi32(value);
}
inline Ints load_ints(const void* from) {
    return _mm256_load_si256(static_cast<const __m256i*>(from));
}
inline void store_ints(void* to, Ints x) {
    _mm256_store_si256(static_cast<__m256i*>(to), x);
}
inline Ints both(Ints a, Ints b) {
    return _mm256_and_si256(a, b);
}
inline Ints either(Ints a, Ints b) {
    return _mm256_or_si256(a, b);
}
inline Ints subtract_bytes(Ints a, Ints b) {
    return _mm256_sub_epi8(a, b);
}
inline Ints shuffle_bytes_by(Ints x, __m128i positions) {
    return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(positions));
}
// table[i] for each byte i below 16.
inline Ints look_up(const int8_t (&table)[16], Ints indices) {
    const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), indices);
}
// The high byte of each number of 16 or 32 bits, signed.
inline Ints high_bytes_of_words(Ints x) {
    return _mm256_srai_epi16(x, 8);
}
inline Ints high_bytes_of_ints(Ints x) {
    return _mm256_srai_epi32(x, 24);
}
inline Ints add_ints(Ints a, Ints b) {
    return _mm256_add_epi32(a, b);
}
inline Ints multiply_ints(Ints a, Ints b) {
    return _mm256_mullo_epi32(a, b);
}
// The products of 16-bit numbers, summed by pairs.
inline Ints multiply_words(Ints a, Ints b) {
    return _mm256_madd_epi16(a, b);
}
inline Ints differing(Ints a, Ints b) {
    return _mm256_xor_si256(a, b);
}
template <int n_bits>
Ints shift_right(Ints x) {
    return _mm256_srli_epi32(x, n_bits);
}
template <int n_bits>
Ints shift_left(Ints x) {
    return _mm256_slli_epi32(x, n_bits);
}
inline Floats to_floats(Ints x) {
    return _mm256_cvtepi32_ps(x);
}
inline Floats as_floats(Ints x) {
    return _mm256_castsi256_ps(x);
}
inline Ints as_ints(Floats x) {
    return _mm256_castps_si256(x);
}
// Of the half-precision number in the low 16 bits of each lane.
inline Floats low_halves(Ints x) {
    const Ints low = both(x, every_int(0xFFFF));
    const Ints packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0b1000);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
}

// quarter(0) and quarter(4), 128 bits each.
template <typename Quarter>
Ints from_quarters(Quarter quarter) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(quarter(0)), quarter(4), 1);
}
// Of the half-precision numbers of eight(0).
template <typename Eight>
Floats from_eight_halves(Eight eight) {
    return _mm256_cvtph_ps(eight(0));
}

inline Ints low_pairs(Ints a, Ints b) {
    return _mm256_unpacklo_epi32(a, b);
}
inline Ints high_pairs(Ints a, Ints b) {
    return _mm256_unpackhi_epi32(a, b);
}
inline Ints low_quads(Ints a, Ints b) {
    return _mm256_unpacklo_epi64(a, b);
}
inline Ints high_quads(Ints a, Ints b) {
    return _mm256_unpackhi_epi64(a, b);
}

inline Ints every_byte(int value) {
    return _mm256_set1_epi8(static_cast<char>(value));
}
// `value` in each byte of x that has the bit of the byte of `bits`, else 0.
inline Ints bytes_with(Ints x, Ints bits, int value) {
    return both(_mm256_cmpeq_epi8(both(x, bits), bits), every_byte(value));
}
// Of 32 numbers.
inline uint32_t equal_bits(const uint16_t* numbers, uint16_t value) {
    const auto is_equal = [&](int64_t first) {
        const auto* from = reinterpret_cast<const __m256i*>(numbers + first);
        return _mm256_cmpeq_epi16(_mm256_loadu_si256(from), _mm256_set1_epi16(static_cast<int16_t>(value)));
    };
    const Ints packed = _mm256_permute4x64_epi64(_mm256_packs_epi16(is_equal(0), is_equal(16)), 0b11011000);
    return static_cast<uint32_t>(_mm256_movemask_epi8(packed));
}
// As many half-precision numbers as there are lanes.
inline Floats load_halves(const void* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(from)));
}
// The first n, all of them.
inline Floats load_first_halves(const void* from, int64_t /*n*/) {
    return load_halves(from);
}
// Eight half-precision numbers of each row, from `first` on, by columns.
inline void transpose_halves(const uint16_t* const* rows, int64_t first, Floats columns[8]) {
    __m128i x[8];
    for (int64_t i = 0; i < 8; ++i) {
        x[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i] + first));
    }
    const auto store_four = [&](const __m128i low[4], Floats* to) {
        const __m128i a = _mm_unpacklo_epi32(low[0], low[1]);
        const __m128i b = _mm_unpacklo_epi32(low[2], low[3]);
        const __m128i c = _mm_unpackhi_epi32(low[0], low[1]);
        const __m128i d = _mm_unpackhi_epi32(low[2], low[3]);
        to[0] = _mm256_cvtph_ps(_mm_unpacklo_epi64(a, b));
        to[1] = _mm256_cvtph_ps(_mm_unpackhi_epi64(a, b));
        to[2] = _mm256_cvtph_ps(_mm_unpacklo_epi64(c, d));
        to[3] = _mm256_cvtph_ps(_mm_unpackhi_epi64(c, d));
    };
    const __m128i low[4] = {_mm_unpacklo_epi16(x[0], x[1]), _mm_unpacklo_epi16(x[2], x[3]),
                            _mm_unpacklo_epi16(x[4], x[5]), _mm_unpacklo_epi16(x[6], x[7])};
    const __m128i high[4] = {_mm_unpackhi_epi16(x[0], x[1]), _mm_unpackhi_epi16(x[2], x[3]),
                             _mm_unpackhi_epi16(x[4], x[5]), _mm_unpackhi_epi16(x[6], x[7])};
    store_four(low, columns);
    store_four(high, columns + 4);
}
// The first n lanes of x, the others of y.
inline Floats first_or(int64_t n, Floats x, Floats y) {
    return _mm256_blendv_ps(y, x, _mm256_castsi256_ps(is_first(n)));
}
inline float first_of(Floats x) {
    return _mm256_cvtss_f32(x);
}
inline float largest(Floats x) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
// As many numbers of 16 bits as there are lanes.
inline Ints load_words(const void* from) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(from)));
}
// The sum of the two quarters that there are.
inline __m128 sum_of_quarters(Floats x) {
    return _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
}

// Sums of two neighbouring products of bytes: unsigned ones (signed ones, if is_signed) by signed ones.
template <bool is_signed>
Ints products_of_pairs(Ints bytes, Ints signed_bytes) {
    if constexpr (is_signed) {  // signed_bytes take the signs of the bytes
        signed_bytes = _mm256_sign_epi8(signed_bytes, bytes);
        bytes = _mm256_abs_epi8(bytes);
    }
    return _mm256_maddubs_epi16(bytes, signed_bytes);
}
inline Ints add_words(Ints a, Ints b) {
    return _mm256_add_epi16(a, b);
}
#ifdef __AVXVNNI__
#define TEA_WIDE_SUMS  // the CPU sums products of bytes in 32 bits
// sums + four neighbouring products of bytes, unsigned by signed.
inline Ints add_products_of_fours(Ints sums, Ints unsigned_bytes, Ints signed_bytes) {
    return _mm256_dpbusd_avx_epi32(sums, unsigned_bytes, signed_bytes);
}
#endif

}  // namespace tea::kernels::lanes
