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

#if (TEA_LANES == 16 && defined(__AVX512VNNI__)) || (TEA_LANES == 8 && defined(__AVXVNNI__))
#define TEA_WIDE_SUMS  // products of bytes are summed in 32 bits
#endif

#ifdef TEA_LANES

#include <immintrin.h>

// Inlines all calls within a function; otherwise unpacked registers would go through memory.
#ifdef __GNUC__
#define TEA_FLATTEN __attribute__((flatten))
#else
#define TEA_FLATTEN
#endif

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

inline Ints every_byte(int value) {
    return every_int(static_cast<int32_t>(0x01010101U * static_cast<uint8_t>(value)));
}
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
// `value` in each byte of x that has the bit of the byte of `bits`, else 0.
inline Ints bytes_with(Ints x, Ints bits, int value) {
#if TEA_LANES == 16
    return _mm512_maskz_set1_epi8(_mm512_test_epi8_mask(x, bits), static_cast<char>(value));
#else
    return both(_mm256_cmpeq_epi8(both(x, bits), bits), every_byte(value));
#endif
}

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

// Keeps GCC from computing all terms of a sum before it adds them: it runs out of registers.
inline void keep_order(Ints& sum) {
#ifdef __GNUC__
    asm("" : "+v"(sum));
#else
    (void)sum;
#endif
}

// Sums of products of bytes in each lane: quants, unsigned or signed, by signed activations of at most 127. A
// lane holds one sum of 32 bits, or two of 16 bits with room for `n_summed` products each.
#ifdef TEA_WIDE_SUMS

constexpr bool has_wide_sums = true;
constexpr int n_summed(int /*max_quant*/, int n) {
    return n;
}
template <bool is_signed>
Ints add_products(Ints sums, Ints quants, Ints numbers, bool /*is_first*/) {
    static_assert(!is_signed);
#if TEA_LANES == 16
    return _mm512_dpbusd_epi32(sums, quants, numbers);
#else
    return _mm256_dpbusd_avx_epi32(sums, quants, numbers);
#endif
}
// The scale of a group, byte i of each lane, in the form that add_total() takes.
template <int i>
Ints scale_of_byte(Ints x) {
    return high_bytes_of_ints(shuffle_bytes<-1, -1, -1, i>(x));
}
template <bool is_scaled>
Ints add_total(Ints total, Ints sums, Ints scale) {
    return add_ints(total, is_scaled ? multiply_ints(sums, scale) : sums);
}

#else

constexpr bool has_wide_sums = false;
// Of n additions, a power of two.
constexpr int n_summed(int max_quant, int n) {
    while (n * 2 * 127 * max_quant > 32767) {
        n /= 2;
    }
    return n;
}
template <bool is_signed>
Ints add_products(Ints sums, Ints quants, Ints numbers, bool is_first) {
#if TEA_LANES == 16
    if constexpr (is_signed) {  // the activations take the signs of the quants
        numbers = _mm512_mask_sub_epi8(numbers, _mm512_movepi8_mask(quants), _mm512_setzero_si512(), numbers);
        quants = _mm512_abs_epi8(quants);
    }
    const Ints products = _mm512_maddubs_epi16(quants, numbers);
    sums = is_first ? products : _mm512_add_epi16(sums, products);
#else
    if constexpr (is_signed) {
        numbers = _mm256_sign_epi8(numbers, quants);
        quants = _mm256_abs_epi8(quants);
    }
    const Ints products = _mm256_maddubs_epi16(quants, numbers);
    sums = is_first ? products : _mm256_add_epi16(sums, products);
#endif
    keep_order(sums);
    return sums;
}
template <int i>
Ints scale_of_byte(Ints x) {
    return words_of_bytes<i, i>(x);
}
template <bool is_scaled>
Ints add_total(Ints total, Ints sums, Ints scale) {
    total = add_ints(total, multiply_words(sums, is_scaled ? scale : every_int(0x00010001)));
    keep_order(total);
    return total;
}

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
    const auto pair = [&](int64_t row) {
        return _mm_unpacklo_epi32(_mm_loadu_si32(rows[row] + offset), _mm_loadu_si32(rows[row + 1] + offset));
    };
    const auto quarter = [&](int64_t row) { return _mm_unpacklo_epi64(pair(row), pair(row + 2)); };
#if TEA_LANES == 16
    return of_quarters(quarter(0), quarter(4), quarter(8), quarter(12));
#else
    return _mm256_set_m128i(quarter(4), quarter(0));
#endif
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
    const auto eight = [&](int64_t row) { return _mm_unpacklo_epi64(four(row), four(row + 4)); };
#if TEA_LANES == 16
    return _mm512_cvtph_ps(_mm256_set_m128i(eight(8), eight(0)));
#else
    return _mm256_cvtph_ps(eight(0));
#endif
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
