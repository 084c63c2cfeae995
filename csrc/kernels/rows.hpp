#pragma once

// What one thread multiplies at a time: rows of a matrix, and columns of activations.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/lanes.hpp"

#ifdef TEA_LANES

namespace tea::kernels {

// As many rows as registers have lanes.
struct Rows {
    const uint8_t* rows[lanes::n_lanes];  // past the last row of the matrix: the last one again
    int64_t first;                        // index of the first one in the matrix
    int64_t n;                            // that are there
    int64_t n_inner;                      // numbers of a row
    int64_t n_bytes;                      // from a row to the next
    bool is_followed;                     // this thread multiplies the rows after them next
};

// A column of activations, and where the products of all rows with it go.
template <typename Activation>
struct Column {
    const Activation* activations;
    float* results;
};

// Calls visit(n), where n is a constant, at most `max`: so many sums are kept in registers.
template <int max, typename Visit>
void with_constant(int64_t n, Visit visit) {
    if constexpr (max > 1) {
        if (n < max) {
            with_constant<max - 1>(n, visit);
            return;
        }
    }
    visit(std::integral_constant<int, max>());
}

}  // namespace tea::kernels

#endif
