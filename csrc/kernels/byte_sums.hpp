#pragma once

// Sums of products of bytes in each lane: quants, unsigned or signed, by signed activations of at most 127. A
// lane holds one sum of 32 bits where the CPU has such sums, else two of 16 bits with room for `n_summed`
// products each.

#include "kernels/lanes.hpp"

#ifdef TEA_LANES

namespace tea::kernels::lanes {

// Keeps GCC from computing all terms of a sum before it adds them: it runs out of registers.
inline void keep_order(Ints& sum) {
#ifdef __GNUC__
    asm("" : "+v"(sum));
#else
    (void)sum;
#endif
}

#ifdef TEA_WIDE_SUMS

constexpr bool has_wide_sums = true;
constexpr int n_summed(int /*max_quant*/, int n) {
    return n;
}
template <bool is_signed>
Ints add_products(Ints sums, Ints quants, Ints numbers, bool is_first) {
    static_assert(!is_signed);
    return add_products_of_fours(is_first ? no_ints() : sums, quants, numbers);
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
// `is_first`: `sums` have no value yet.
template <bool is_signed>
Ints add_products(Ints sums, Ints quants, Ints numbers, bool is_first) {
    const Ints products = products_of_pairs<is_signed>(quants, numbers);
    sums = is_first ? products : add_words(sums, products);
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

}  // namespace tea::kernels::lanes

#endif
