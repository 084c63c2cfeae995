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
inline Ints as_ints(Floats x) {
    return _mm512_castps_si512(x);
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
inline Ints as_ints(Floats x) {
    return _mm256_castps_si256(x);
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

// Of 32 numbers.
inline uint32_t equal_bits(const uint16_t* numbers, uint16_t value) {
    const auto wanted = static_cast<int16_t>(value);
#if TEA_LANES == 16
    return _mm512_cmpeq_epi16_mask(_mm512_loadu_si512(numbers), _mm512_set1_epi16(wanted));
#else
    const auto is_equal = [&](int64_t first) {
        const auto* from = reinterpret_cast<const __m256i*>(numbers + first);
        return _mm256_cmpeq_epi16(_mm256_loadu_si256(from), _mm256_set1_epi16(wanted));
    };
    const Ints packed = _mm256_permute4x64_epi64(_mm256_packs_epi16(is_equal(0), is_equal(16)), 0b11011000);
    return static_cast<uint32_t>(_mm256_movemask_epi8(packed));
#endif
}

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

// Each sum has two parts of 16 bits, each enough for 16 products of four bits by eight: 16 * 15 * 127 =
// 30480.
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

inline Floats exp(Floats x) {
    return ggml_v_expf(x);
}

inline Floats load_halves(const ggml_fp16_t* from) {
#if TEA_LANES == 16
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#else
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#endif
}

// Of all lanes.
inline float sum(Floats x) {
#if TEA_LANES == 16
    return _mm512_reduce_add_ps(x);
#else
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
#endif
}

inline Floats high_halves(Ints x) {
    return low_halves(shift_right<16>(x));
}

// Four bytes of each row.
inline Ints column_of(const uint8_t* const* rows, int64_t offset) {
    alignas(4 * n_lanes) uint32_t column[n_lanes];
    for (int64_t i = 0; i < n_lanes; ++i) {
        std::memcpy(&column[i], rows[i] + offset, sizeof column[i]);
    }
    return load_ints(column);
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
