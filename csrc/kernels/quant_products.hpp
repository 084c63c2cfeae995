#pragma once

// Products of quantized weights (quants.hpp) with columns of activations, which are rounded to eight bits.
//
// Each lane of a register holds another row, so no sum crosses lanes. A block's numbers are multiplied in
// integers, which are exact in any order; the blocks of a row are added as floats, in their order. So a
// product has the same bits whether its block is unpacked for this column alone (few columns) or once for
// many (a Panel).

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/byte_sums.hpp"
#include "kernels/quants.hpp"
#include "kernels/rows.hpp"

#ifdef TEA_LANES

namespace tea::kernels {

template <typename Type>
class QuantProduct {
    static constexpr int n_groups = Type::n_inner / Type::n_group;
    static constexpr bool is_grouped = n_groups > 1;
    static constexpr int n_fours = Type::n_group / 4;
    // Sums of 32 bits have room for quants that are made unsigned by adding 128.
    static constexpr bool becomes_unsigned = Type::is_signed && has_wide_sums;
    static constexpr bool is_signed = Type::is_signed && !has_wide_sums;
    static constexpr int offset = becomes_unsigned ? 128 : Type::offset;
    // The number of products that fit into a sum of 16 bits.
    static constexpr int n_summed = lanes::n_summed(Type::max_quant, n_fours);
    static constexpr bool has_factors = is_grouped && (Type::has_minimum || offset != 0);

  public:
    static constexpr ggml_type type = Type::type;
    static constexpr bool converts = true;
    static constexpr int64_t n_inner = Type::n_inner;  // a row has a multiple of it
    static constexpr int64_t n_activations = 1;        // that convert() makes
    static constexpr int max_columns =
        n_lanes == 16 ? 8 : 4;  // computed together: two registers of sums each

    // For multiply_rows().
    static int64_t most_columns(int64_t /*n_inner_of_row*/) { return INT32_MAX; }

    // A block of activations: each is about scale * quants[i].
    struct alignas(32) Activation {
        int8_t quants[Type::n_inner];
        int16_t sums[is_grouped ? n_groups : 2];  // of each group's quants
        float scale;
        std::conditional_t<Type::has_minimum, float, int32_t>
            correction;  // if there are no groups: for the minimum, or for the offset
    };
    static void convert(const float* x, Activation* to);

    // Of the memory for multiply_rows().
    static size_t work_bytes(int64_t /*n_inner_of_row*/) { return sizeof(Panel) * n_panels; }

    static void multiply_rows(const Rows& rows, const Column<Activation>* columns, int64_t n_columns,
                              void* work);

  private:
    static constexpr int max_direct_columns = 4;  // with up to so many, no panel is made
    static constexpr int64_t n_panels = (n_lanes == 16 ? 1024 : 2048) / Type::n_inner;

    // The factors of the groups' products and of the sums of their activations.
    struct Factors {
        Ints scales[is_grouped ? n_groups : 1];
        Ints of_pairs[has_factors ? n_groups / 2 : 1];  // the minima, or the scales if there are none
    };
    struct Panel {
        Ints quants[Type::n_inner / 4];
        Factors factors;
        Head head;
    };
    // Blocks [first, first + n) of rows.
    struct Part {
        int64_t first;
        int64_t n;
    };

    static void pack(const uint8_t* const* rows, int64_t row_offset, Panel& panel);
    static void pack_part(const Rows& rows, const Part& part, Panel* panels);
    // sums[c] += the product of a block with block `block` of columns[c].
    template <int n_columns>
    static void add_product(const Panel& panel, const Activation* const* columns, int64_t block,
                            Floats* sums);
    template <int n_columns>
    static void multiply_panels(const Rows& rows, const Part& part, const Panel* panels,
                                const Column<Activation>* columns);
    template <int n_columns>
    static void multiply_direct(const Rows& rows, const Column<Activation>* columns);
    static Factors factors_of(const Block& block);
    template <typename Visit>
    static void for_each_four(const Block& block, Visit visit);
    template <int n_columns>
    static void add_block(const Head& head, const Factors& factors, const Ints* products,
                          const Activation* const* columns, int64_t block, Floats* sums);
};

template <typename Type>
void QuantProduct<Type>::convert(const float* x, Activation* to) {
    // The bits of floats without their sign are in the order of the floats.
    uint32_t largest_bits = 0;
    for (int i = 0; i < Type::n_inner; ++i) {
        uint32_t bits = 0;
        std::memcpy(&bits, x + i, sizeof bits);
        largest_bits = std::max(largest_bits, bits & 0x7FFFFFFFU);
    }
    float largest = 0;
    std::memcpy(&largest, &largest_bits, sizeof largest);
    const float inverse = largest > 0 ? 127 / largest : 0;
    Activation& a = *to;
    for (int i = 0; i < Type::n_inner; ++i) {
        // Where floats have no fractions, adding rounds to the nearest, and the low bits are the number.
        const float shifted = x[i] * inverse + 12582912.0F;  // 1.5 * 2^23
        int32_t bits = 0;
        std::memcpy(&bits, &shifted, sizeof bits);
        a.quants[i] = static_cast<int8_t>(bits & 0xFF);
    }
    a.scale = largest / 127;
    int32_t sum = 0;
    for (int group = 0; group < n_groups; ++group) {
        sum = 0;
        for (int i = 0; i < Type::n_group; ++i) {
            sum += a.quants[group * Type::n_group + i];
        }
        a.sums[group] = static_cast<int16_t>(sum);
    }
    if constexpr (Type::has_minimum) {
        a.correction = a.scale * static_cast<float>(sum);
    } else {
        a.correction = -offset * sum;
    }
}

template <typename Type>
template <typename Visit>
void QuantProduct<Type>::for_each_four(const Block& block, Visit visit) {
    Type::for_each_four(block, [&](auto i, Ints quants) {
        visit(i, becomes_unsigned ? differing(quants, every_byte(-128)) : quants);
    });
}

template <typename Type>
typename QuantProduct<Type>::Factors QuantProduct<Type>::factors_of(const Block& block) {
    Factors factors;
    if constexpr (is_grouped) {
        const Groups<n_groups> groups = Type::groups(block);
        for_each_index<n_groups>(
            [&](auto i) { factors.scales[i] = scale_of_byte<i % 4>(groups.scales[i / 4]); });
        if constexpr (has_factors) {
            for_each_index<n_groups / 2>([&](auto i) {
                const Ints four = Type::has_minimum ? groups.minima[i / 2] : groups.scales[i / 2];
                factors.of_pairs[i] = words_of_bytes<i % 2 * 2, i % 2 * 2 + 1>(four);
            });
        }
    }
    return factors;
}

// Adds to `sums` the product of a block, of which the products of its quants are known.
template <typename Type>
template <int n_columns>
void QuantProduct<Type>::add_block(const Head& head, const Factors& factors, const Ints* products,
                                   const Activation* const* columns, int64_t block, Floats* sums) {
    for (int c = 0; c < n_columns; ++c) {
        const Activation& a = columns[c][block];
        const Floats scale = every(a.scale);
        Ints product = products[c];
        Ints of_sums = no_ints();
        if constexpr (has_factors) {
            for (int i = 0; i < n_groups / 2; ++i) {
                of_sums =
                    add_ints(of_sums, multiply_words(factors.of_pairs[i], every_four_bytes(a.sums + 2 * i)));
            }
        }
        if constexpr (offset != 0) {
            product = add_ints(product, is_grouped ? multiply_ints(of_sums, every_int(-offset))
                                                   : every_int(static_cast<int32_t>(a.correction)));
        }
        sums[c] = multiply_add(to_floats(product), multiply(head.scale, scale), sums[c]);
        if constexpr (Type::has_minimum) {
            sums[c] = is_grouped
                          ? subtract_product(to_floats(of_sums), multiply(head.minimum, scale), sums[c])
                          : subtract_product(head.minimum, every(a.correction), sums[c]);
        }
    }
}

template <typename Type>
TEA_FLATTEN void QuantProduct<Type>::pack(const uint8_t* const* rows, int64_t row_offset, Panel& panel) {
    const Block block{rows, row_offset};
    panel.head = Type::head(block);
    panel.factors = factors_of(block);
    for_each_four(block, [&](auto i, Ints quants) { panel.quants[i] = quants; });
}

template <typename Type>
template <int n_columns>
void QuantProduct<Type>::add_product(const Panel& panel, const Activation* const* columns, int64_t block,
                                     Floats* sums) {
    Ints products[n_columns];
    for (int c = 0; c < n_columns; ++c) {
        products[c] = no_ints();
    }
    const int8_t* numbers[n_columns];
    for (int c = 0; c < n_columns; ++c) {
        numbers[c] = columns[c][block].quants;
    }
    for (int first = 0; first < Type::n_inner / 4; first += n_summed) {
        Ints parts[n_columns];
        for (int i = first; i < first + n_summed; ++i) {
            for (int c = 0; c < n_columns; ++c) {
                parts[c] = add_products<is_signed>(parts[c], panel.quants[i],
                                                   every_four_bytes(numbers[c] + 4 * i), i == first);
            }
        }
        for (int c = 0; c < n_columns; ++c) {
            products[c] = add_total<is_grouped>(products[c], parts[c], panel.factors.scales[first / n_fours]);
        }
    }
    add_block<n_columns>(panel.head, panel.factors, products, columns, block, sums);
}

// Rows are read side by side, which the CPU does not prefetch well. So the part after this one is fetched
// meanwhile, row by row.
template <typename Type>
void QuantProduct<Type>::pack_part(const Rows& rows, const Part& part, Panel* panels) {
    const int64_t begin = part.first * Type::n_bytes;
    const int64_t n = part.n * Type::n_bytes;
    const bool is_last = part.first + part.n == rows.n_inner / Type::n_inner;
    const int64_t next = is_last ? n_lanes * rows.n_bytes : begin + n;
    int64_t row = rows.is_followed || !is_last ? 0 : n_lanes;
    int64_t fetched = 0;  // of the row
    for (int64_t i = 0; i < part.n; ++i) {
        while (row < n_lanes && row * n + fetched < (i + 1) * n_lanes * Type::n_bytes) {
            fetch(rows.rows[row] + next + fetched);
            fetched += n_line;
            if (fetched >= n) {
                fetched = 0;
                ++row;
            }
        }
        pack(rows.rows, begin + i * Type::n_bytes, panels[i]);
    }
}

template <typename Type>
template <int n_columns>
TEA_FLATTEN void QuantProduct<Type>::multiply_panels(const Rows& rows, const Part& part, const Panel* panels,
                                                     const Column<Activation>* columns) {
    const Activation* activations[n_columns];
    Floats sums[n_columns];
    for (int c = 0; c < n_columns; ++c) {
        activations[c] = columns[c].activations + part.first;
        sums[c] = part.first == 0 ? zeros() : load_first(columns[c].results + rows.first, rows.n);
    }
    for (int64_t i = 0; i < part.n; ++i) {
        add_product<n_columns>(panels[i], activations, i, sums);
    }
    for (int c = 0; c < n_columns; ++c) {
        store_first(columns[c].results + rows.first, rows.n, sums[c]);
    }
}

// Without panels; the rows that follow are prefetched.
template <typename Type>
template <int n_columns>
TEA_FLATTEN void QuantProduct<Type>::multiply_direct(const Rows& rows, const Column<Activation>* columns) {
    const int64_t n_blocks = rows.n_inner / Type::n_inner;
    const uint8_t* next = rows.rows[0] + n_lanes * rows.n_bytes;
    const int64_t n_fetched_each = n_lanes * rows.n_bytes / n_blocks;
    const Activation* activations[n_columns];
    Floats sums[n_columns];
    for (int c = 0; c < n_columns; ++c) {
        activations[c] = columns[c].activations;
        sums[c] = zeros();
    }
    for (int64_t b = 0; b < n_blocks; ++b) {
        for (int64_t i = 0; i < n_fetched_each; i += n_line) {
            fetch(next + b * n_fetched_each + i);
        }
        const Block block{rows.rows, b * Type::n_bytes};
        const Factors factors = factors_of(block);
        Ints products[n_columns];
        Ints parts[Type::n_inner / 4 / n_summed][n_columns];
        for (int c = 0; c < n_columns; ++c) {
            products[c] = no_ints();
        }
        for_each_four(block, [&](auto i, Ints quants) {
            Ints* mine = parts[i / n_summed];
            for (int c = 0; c < n_columns; ++c) {
                const Ints numbers = every_four_bytes(activations[c][b].quants + 4 * i);
                mine[c] = add_products<is_signed>(mine[c], quants, numbers, i % n_summed == 0);
                if (i % n_summed == n_summed - 1) {
                    products[c] = add_total<is_grouped>(products[c], mine[c], factors.scales[i / n_fours]);
                }
            }
        });
        add_block<n_columns>(Type::head(block), factors, products, activations, b, sums);
    }
    for (int c = 0; c < n_columns; ++c) {
        store_first(columns[c].results + rows.first, rows.n, sums[c]);
    }
}

template <typename Type>
void QuantProduct<Type>::multiply_rows(const Rows& rows, const Column<Activation>* columns, int64_t n_columns,
                                       void* work) {
    if (n_columns <= max_direct_columns) {
        with_constant<max_direct_columns>(n_columns, [&](auto n) { multiply_direct<n>(rows, columns); });
        return;
    }
    auto* panels = static_cast<Panel*>(work);
    const int64_t n_blocks = rows.n_inner / Type::n_inner;
    for (int64_t first = 0; first < n_blocks; first += n_panels) {
        const Part part{first, std::min(n_panels, n_blocks - first)};
        pack_part(rows, part, panels);
        for (int64_t c = 0; c < n_columns; c += max_columns) {
            with_constant<max_columns>(n_columns - c,
                                       [&](auto n) { multiply_panels<n>(rows, part, panels, columns + c); });
        }
    }
}

}  // namespace tea::kernels

#endif
