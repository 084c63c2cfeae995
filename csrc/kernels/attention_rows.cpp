// Attention of one token. Its visible cells are found once for all heads, four at a time. Heads that share
// keys and values are computed together, so that each key and value is read and converted once. The softmax
// is computed over blocks of cells.

#include "kernels/attention_rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/lanes.hpp"

namespace tea::kernels {

namespace {

constexpr int32_t n_block = 256;  // cells per softmax
constexpr int32_t n_ahead = 8;    // cells to prefetch

// Prefetches a row that is needed soon.
void fetch(const ggml_fp16_t* row, int64_t n) {
#ifdef __GNUC__
    for (int64_t i = 0; i < n; i += 32) {  // a cache line
        __builtin_prefetch(row + i);
    }
#else
    (void)row;
    (void)n;
#endif
}

// Calls visit(cell) for each visible cell from `first` on, until it returns false; returns the cell after it.
template <typename Visit>
int64_t for_each_visible(const uint16_t* mask, int64_t first, int64_t n_cells, Visit visit) {
    constexpr uint64_t four_hidden = Attention::hidden * 0x0001000100010001U;
    int64_t cell = first;
    while (cell < n_cells) {
        if (cell + 4 <= n_cells) {
            uint64_t four = 0;
            std::memcpy(&four, mask + cell, sizeof four);
            if (four == four_hidden) {
                cell += 4;
                continue;
            }
        }
        const int64_t end = std::min(cell + 4, n_cells);
        for (; cell < end; ++cell) {
            if (mask[cell] != Attention::hidden && !visit(cell)) {
                return cell + 1;
            }
        }
    }
    return n_cells;
}

// Heads [first, first + n) of a token, and a block of the cells that the token sees.
struct Rows {
    Rows(const Attention& attention, int64_t first_head, int64_t n_heads)
        : op(attention), first(first_head), n(n_heads) {}
    // An index past the last cell gives the last one.
    const ggml_fp16_t* key(int32_t i) const { return op.key(cells[std::min(i, n_cells - 1)], first); }
    const ggml_fp16_t* value(int32_t i) const { return op.value(cells[std::min(i, n_cells - 1)], first); }

    const Attention& op;
    int64_t first;
    int64_t n;
    int32_t n_cells = 0;
    int32_t cells[n_block];
    alignas(64) float weights[max_heads][n_block];
    alignas(64) float queries[max_heads][max_width];
    alignas(64) float sums[max_heads][max_width];  // of weighted values
    float largest[max_heads];
    float totals[max_heads];  // sums of the weights
};

// weights[h][i] = queries[h] * key(i)
void multiply_keys_by_ggml(Rows& r) {
    const auto n_key = static_cast<int>(r.op.n_key());
    alignas(64) ggml_fp16_t queries[max_heads][max_width];
    for (int64_t h = 0; h < r.n; ++h) {
        ggml_cpu_fp32_to_fp16(r.queries[h], queries[h], n_key);
    }
    for (int32_t i = 0; i < r.n_cells; ++i) {
        fetch(r.key(i + n_ahead), n_key);
        fetch(r.value(i), r.op.n_value());
        auto* key = const_cast<ggml_fp16_t*>(r.key(i));  // ggml only reads it
        for (int64_t h = 0; h < r.n; ++h) {
            ggml_vec_dot_f16(n_key, &r.weights[h][i], 0, key, 0, queries[h], 0, 1);
        }
    }
}

// sums[h] += weights[h][i] * value(i)
void add_values_by_ggml(Rows& r) {
    const auto n_value = static_cast<int>(r.op.n_value());
    alignas(64) float value[max_width];
    for (int32_t i = 0; i < r.n_cells; ++i) {
        ggml_cpu_fp16_to_fp32(r.value(i), value, n_value);
        for (int64_t h = 0; h < r.n; ++h) {
            ggml_vec_mad_f32(n_value, r.sums[h], value, r.weights[h][i]);
        }
    }
}

#ifdef TEA_LANES

using namespace lanes;

constexpr int64_t max_together = 4;  // heads with sums in registers

// Heads [h, h + n_heads). Two cells at once share the loads of the queries.
template <int n_heads>
void multiply_keys(Rows& r, int64_t h) {
    const int64_t n_key = r.op.n_key();
    for (int32_t i = 0; i < r.n_cells; i += 2) {
        fetch(r.key(i + n_ahead), n_key);
        fetch(r.key(i + n_ahead + 1), n_key);
        const ggml_fp16_t* keys[] = {r.key(i), r.key(i + 1)};
        Floats sums[n_heads][2];
        for (int k = 0; k < n_heads; ++k) {
            sums[k][0] = sums[k][1] = zeros();
        }
        for (int64_t j = 0; j < n_key; j += n_lanes) {
            const Floats numbers[] = {load_halves(keys[0] + j), load_halves(keys[1] + j)};
            for (int k = 0; k < n_heads; ++k) {
                const Floats query = load(r.queries[h + k] + j);
                sums[k][0] = multiply_add(query, numbers[0], sums[k][0]);
                sums[k][1] = multiply_add(query, numbers[1], sums[k][1]);
            }
        }
        for (int k = 0; k < n_heads; ++k) {
            r.weights[h + k][i] = sum(sums[k][0]);
            r.weights[h + k][i + 1] = sum(sums[k][1]);  // there is room: n_block is even
        }
    }
}

// Heads [h, h + n_heads), and `n_wide` registers of the values from `column` on.
template <int n_heads, int n_wide>
void add_columns(Rows& r, int64_t h, int64_t column) {
    Floats sums[n_heads][n_wide];
    for (int k = 0; k < n_heads; ++k) {
        for (int w = 0; w < n_wide; ++w) {
            sums[k][w] = load(r.sums[h + k] + column + w * n_lanes);
        }
    }
    for (int32_t i = 0; i < r.n_cells; ++i) {
        const ggml_fp16_t* value = r.value(i) + column;
        fetch(r.value(i + n_ahead) + column, n_wide * n_lanes);
        Floats numbers[n_wide];
        for (int w = 0; w < n_wide; ++w) {
            numbers[w] = load_halves(value + w * n_lanes);
        }
        for (int k = 0; k < n_heads; ++k) {
            const Floats weight = every(r.weights[h + k][i]);
            for (int w = 0; w < n_wide; ++w) {
                sums[k][w] = multiply_add(weight, numbers[w], sums[k][w]);
            }
        }
    }
    for (int k = 0; k < n_heads; ++k) {
        for (int w = 0; w < n_wide; ++w) {
            store(r.sums[h + k] + column + w * n_lanes, sums[k][w]);
        }
    }
}

template <int n_heads>
void add_values(Rows& r, int64_t h) {
    constexpr int n_wide = n_heads == 1 ? 8 : n_heads <= 3 ? 4 : 2;  // 8 to 12 sums
    const int64_t n_value = r.op.n_value();
    int64_t column = 0;
    for (; column + n_wide * n_lanes <= n_value; column += n_wide * n_lanes) {
        add_columns<n_heads, n_wide>(r, h, column);
    }
    for (; column < n_value; column += n_lanes) {
        add_columns<n_heads, 1>(r, h, column);
    }
}

// Calls step(h, n) for groups of n heads, where n is a constant.
template <typename Step>
void for_heads(int64_t n, Step step) {
    for (int64_t h = 0; h < n; h += max_together) {
        switch (std::min(n - h, max_together)) {
            case 1:
                step(h, std::integral_constant<int, 1>());
                break;
            case 2:
                step(h, std::integral_constant<int, 2>());
                break;
            case 3:
                step(h, std::integral_constant<int, 3>());
                break;
            default:
                step(h, std::integral_constant<int, max_together>());
        }
    }
}

void multiply_keys(Rows& r) {
    if (r.op.n_key() % n_lanes == 0) {
        for_heads(r.n, [&](int64_t h, auto n) { multiply_keys<n>(r, h); });
    } else {
        multiply_keys_by_ggml(r);
    }
}

void add_values(Rows& r) {
    if (r.op.n_value() % n_lanes == 0) {
        for_heads(r.n, [&](int64_t h, auto n) { add_values<n>(r, h); });
    } else {
        add_values_by_ggml(r);
    }
}

#else

void multiply_keys(Rows& r) {
    multiply_keys_by_ggml(r);
}
void add_values(Rows& r) {
    add_values_by_ggml(r);
}

#endif

// Turns the products into weights, and rescales the sums so far.
void take_softmax(Rows& r, const uint16_t* mask) {
    float bias[n_block];
    for (int32_t i = 0; i < r.n_cells; ++i) {
        bias[i] = GGML_CPU_FP16_TO_FP32(mask[r.cells[i]]);
    }
    for (int64_t h = 0; h < r.n; ++h) {
        float* weights = r.weights[h];
        for (int32_t i = 0; i < r.n_cells; ++i) {
            const float product = weights[i] * r.op.scale;
            weights[i] =
                bias[i] + (r.op.softcap == 0 ? product : r.op.softcap * std::tanh(product / r.op.softcap));
        }
        const float highest = std::max(r.largest[h], *std::max_element(weights, weights + r.n_cells));
        if (r.totals[h] > 0 && highest > r.largest[h]) {
            const float shrink = std::exp(r.largest[h] - highest);
            ggml_vec_scale_f32(static_cast<int>(r.op.n_value()), r.sums[h], shrink);
            r.totals[h] *= shrink;
        }
        r.largest[h] = highest;
        r.totals[h] += static_cast<float>(ggml_vec_soft_max_f32(r.n_cells, weights, weights, highest));
    }
}

}  // namespace

void attend_one(const Attention& op, int64_t token, int64_t first, int64_t n) {
    Rows r(op, first, n);
    for (int64_t h = 0; h < n; ++h) {
        std::copy_n(op.query(token, first + h), op.n_key(), r.queries[h]);
        std::fill_n(r.sums[h], op.n_value(), 0.0F);
        r.largest[h] = -INFINITY;
        r.totals[h] = 0;
    }
    const uint16_t* mask = op.mask_of(token);
    for (int64_t next = 0; next < op.n_cells();) {
        r.n_cells = 0;
        next = for_each_visible(mask, next, op.n_cells(), [&](int64_t cell) {
            r.cells[r.n_cells++] = static_cast<int32_t>(cell);
            return r.n_cells < n_block;
        });
        if (r.n_cells > 0) {
            multiply_keys(r);
            take_softmax(r, mask);
            add_values(r);
        }
    }
    for (int64_t h = 0; h < n; ++h) {
        const float share = r.totals[h] > 0 ? 1 / r.totals[h] : 0;  // 0: the token sees no cell
        ggml_vec_scale_f32(static_cast<int>(op.n_value()), r.sums[h], share);
        std::copy_n(r.sums[h], op.n_value(), op.result(token, first + h));
    }
}

}  // namespace tea::kernels
