#pragma once

// Vector registers in which each lane belongs to another row of a matrix: 16 lanes with AVX-512, 8 with AVX2.
// TEA_LANES is defined where there are such registers.

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define TEA_LANES 16
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define TEA_LANES 8
#endif

#ifdef TEA_LANES

#include <immintrin.h>

namespace tea::kernels::lanes {

constexpr int64_t n_lanes = TEA_LANES;

#if TEA_LANES == 16

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
inline void store(float* to, Floats x) {
    _mm512_store_ps(to, x);
}
inline Floats multiply(Floats a, Floats b) {
    return _mm512_mul_ps(a, b);
}
inline Floats multiply_add(Floats a, Floats b, Floats sum) {
    return _mm512_fmadd_ps(a, b, sum);
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
// Of the half-precision number in the low 16 bits of each lane.
inline Floats low_halves(Ints x) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x));
}

inline Ints of_quarters(__m128i a, __m128i b, __m128i c, __m128i d) {
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(c), d, 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
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

#else

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
inline void store(float* to, Floats x) {
    _mm256_store_ps(to, x);
}
inline Floats multiply(Floats a, Floats b) {
    return _mm256_mul_ps(a, b);
}
inline Floats multiply_add(Floats a, Floats b, Floats sum) {
    return _mm256_fmadd_ps(a, b, sum);
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
// Of the half-precision number in the low 16 bits of each lane.
inline Floats low_halves(Ints x) {
    const Ints low = both(x, every_int(0xFFFF));
    const Ints packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0b1000);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
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

#endif

// Sums of products of bytes, unsigned by signed, in each lane.
#if TEA_LANES == 16 && defined(__AVX512VNNI__)

constexpr bool has_wide_sums = true;
inline Ints add_products(Ints sums, Ints unsigned_bytes, Ints signed_bytes) {
    return _mm512_dpbusd_epi32(sums, unsigned_bytes, signed_bytes);
}
inline Ints total(Ints sums) {
    return sums;
}

#else

// Each sum has two parts of 16 bits: enough for 8 products of four bits by eight in each.
constexpr bool has_wide_sums = false;
#if TEA_LANES == 16
inline Ints add_products(Ints sums, Ints unsigned_bytes, Ints signed_bytes) {
    return _mm512_add_epi16(sums, _mm512_maddubs_epi16(unsigned_bytes, signed_bytes));
}
inline Ints total(Ints sums) {
    return _mm512_madd_epi16(sums, _mm512_set1_epi16(1));
}
#else
inline Ints add_products(Ints sums, Ints unsigned_bytes, Ints signed_bytes) {
    return _mm256_add_epi16(sums, _mm256_maddubs_epi16(unsigned_bytes, signed_bytes));
}
inline Ints total(Ints sums) {
    return _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
}
#endif

#endif

inline Ints every_four_bytes(const void* from) {
    int32_t four = 0;
    std::memcpy(&four, from, sizeof four);
    return every_int(four);
}

inline Floats high_halves(Ints x) {
    return low_halves(shift_right<16>(x));
}

inline Floats load_first(const float* from, int64_t n) {
    alignas(4 * n_lanes) float numbers[n_lanes] = {};
    std::memcpy(numbers, from, static_cast<size_t>(n) * sizeof *from);
    return load(numbers);
}

inline void store_first(float* to, int64_t n, Floats x) {
    alignas(4 * n_lanes) float numbers[n_lanes];
    store(numbers, x);
    std::memcpy(to, numbers, static_cast<size_t>(n) * sizeof *to);
}

// Four bytes of each row.
inline Ints column_of(const uint8_t* const* rows, int64_t offset) {
    alignas(4 * n_lanes) uint32_t column[n_lanes];
    for (int64_t i = 0; i < n_lanes; ++i) {
        std::memcpy(&column[i], rows[i] + offset, sizeof column[i]);
    }
    return load_ints(column);
}

// 16 bytes of each row, as four columns of four bytes each.
inline void transpose(const uint8_t* const* rows, int64_t offset, Ints columns[4]) {
    const auto quarter = [&](int64_t row) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[row] + offset));
    };
    Ints x[4];
    for (int64_t i = 0; i < 4; ++i) {
#if TEA_LANES == 16
        x[i] = of_quarters(quarter(i), quarter(4 + i), quarter(8 + i), quarter(12 + i));
#else
        x[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(quarter(i)), quarter(4 + i), 1);
#endif
    }
    const Ints low01 = low_pairs(x[0], x[1]);
    const Ints low23 = low_pairs(x[2], x[3]);
    const Ints high01 = high_pairs(x[0], x[1]);
    const Ints high23 = high_pairs(x[2], x[3]);
    columns[0] = low_quads(low01, low23);
    columns[1] = high_quads(low01, low23);
    columns[2] = low_quads(high01, high23);
    columns[3] = high_quads(high01, high23);
}

}  // namespace tea::kernels::lanes

#endif
