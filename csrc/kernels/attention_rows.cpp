// Attention of one token. Heads that share keys and values are computed together, so that each key and value
// is read and converted once. For the scores, each lane of a register holds another cell; for the sums of
// weighted values, another number of the value.

#include "kernels/attention_rows.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/cell_order.hpp"
#include "kernels/lanes.hpp"
#include "kernels/rows.hpp"
#include "kernels/softmax.hpp"

#ifdef TEA_LANES

namespace tea::kernels {

using namespace lanes;

namespace {

constexpr int64_t max_heads = 8;                         // for which a block of cells is read once
constexpr int64_t max_together = n_lanes == 16 ? 8 : 4;  // heads with sums in registers
constexpr int64_t n_block = 256;                         // cells per softmax
constexpr int64_t n_ahead = 8;                           // cells to prefetch

// Prefetches a row that is needed soon.
void fetch_row(const ggml_fp16_t* row, int64_t n) {
    for (int64_t i = 0; i < n; i += n_line / static_cast<int64_t>(sizeof(ggml_fp16_t))) {
        fetch(row + i);
    }
}

// Heads [first, first + n) of a token, which share keys and values.
class Heads {
  public:
    Heads(const Attention& op, int64_t token, int64_t first, int64_t n)
        : op_(op), token_(token), first_(first), n_(n) {
        const Floats scale = every(query_scale(op));
        for (int64_t h = 0; h < n; ++h) {
            const float* query = op.query(token, first + h);
            for (int64_t i = 0; i < op.n_key(); i += n_lanes) {
                const Floats numbers = load_first(query + i, std::min(n_lanes, op.n_key() - i));
                store(queries_[h] + i, multiply(numbers, scale));
            }
            std::fill_n(sums_[h], max_width, 0.0F);
            highest_[h] = lowest_power;
            totals_[h] = 0;
        }
    }

    void attend_to(const SeenCells& seen) {
        for (int64_t first = 0; first < seen.n; first += n_block) {
            cells_ = seen.cells + first;
            n_cells_ = std::min(n_block, seen.n - first);
            for_heads([&](int64_t h, auto n) { multiply_keys<n>(h); });
            take_softmax(seen.has_bias);
            for_heads([&](int64_t h, auto n) { add_values<n>(h); });
        }
    }

    void store_results() {
        for (int64_t h = 0; h < n_; ++h) {
            if (const float* sink = op_.sink(first_ + h); sink != nullptr) {
                const Floats score = every(*sink * log2_of_e);
                shrink_sums(h, maximum(every(highest_[h]), nearest_integers(score)));
                totals_[h] += first_of(weight_of(score, every(highest_[h])));
            }
            const float share = totals_[h] > 0 ? 1 / totals_[h] : 0;  // 0: the token sees no cell
            float* result = op_.result(token_, first_ + h);
            for (int64_t i = 0; i < op_.n_value(); i += n_lanes) {
                store_first(result + i, std::min(n_lanes, op_.n_value() - i),
                            multiply(load(sums_[h] + i), every(share)));
            }
        }
    }

  private:
    // An index past the last cell gives the last one.
    const ggml_fp16_t* key(int64_t i) const { return op_.key(cells_[std::min(i, n_cells_ - 1)], first_); }
    const ggml_fp16_t* value(int64_t i) const { return op_.value(cells_[std::min(i, n_cells_ - 1)], first_); }

    // Calls step(h, n) for groups of n heads, where n is a constant.
    template <typename Step>
    void for_heads(Step step) {
        for (int64_t h = 0; h < n_; h += max_together) {
            with_constant<max_together>(n_ - h, [&](auto n) { step(h, n); });
        }
    }

    // Computes the scores. With few heads, two registers of cells at once: an addition has to wait for the
    // one before.
    template <int n_heads>
    TEA_FLATTEN void multiply_keys(int64_t first) {
        constexpr int64_t n_together = n_heads <= 2 ? 2 : 1;
        for (int64_t i = 0; i < n_cells_; i += n_together * n_lanes) {
            const ggml_fp16_t* keys[n_together * n_lanes];
            for (int64_t j = 0; j < n_together * n_lanes; ++j) {
                keys[j] = key(i + j);
                fetch_row(key(i + j + n_together * n_lanes), op_.n_key());
            }
            Floats sums[n_together][n_heads];
            for (auto& of_cells : sums) {
                std::fill_n(of_cells, n_heads, zeros());
            }
            for (int64_t j = 0; j < op_.n_key(); j += 8) {
                for (int64_t t = 0; t < n_together; ++t) {
                    Floats columns[8];
                    transpose_halves(keys + t * n_lanes, j, columns);
                    for (int64_t c = 0; c < 8; ++c) {
                        for (int h = 0; h < n_heads; ++h) {
                            sums[t][h] =
                                multiply_add(every(queries_[first + h][j + c]), columns[c], sums[t][h]);
                        }
                    }
                }
            }
            for (int64_t t = 0; t < n_together; ++t) {
                for (int h = 0; h < n_heads; ++h) {  // there is room: n_block is a multiple
                    store(weights_[first + h] + i + t * n_lanes, score_of(op_, sums[t][h]));
                }
            }
        }
    }

    // Turns the scores into weights.
    void take_softmax(bool has_bias) {
        alignas(4 * n_lanes) float biases[n_block];
        const uint16_t* mask = op_.mask_of(token_);
        for (int64_t i = 0; has_bias && i < n_cells_; ++i) {
            biases[i] = GGML_CPU_FP16_TO_FP32(mask[cells_[i]]) * log2_of_e;
        }
        for (int64_t h = 0; h < n_; ++h) {
            float* weights = weights_[h];
            const Floats slope = every(has_bias ? op_.slope(first_ + h) : 1);
            Floats highest = every(highest_[h]);
            for (int64_t i = 0; i < n_cells_; i += n_lanes) {
                Floats scores = load(weights + i);
                if (has_bias) {
                    scores = add(scores, multiply(load(biases + i), slope));
                }
                if (i + n_lanes > n_cells_) {
                    scores = first_or(n_cells_ - i, scores, every(hidden_score));
                }
                store(weights + i, scores);
                highest = maximum(highest, nearest_integers(scores));
            }
            highest = every(largest(highest));
            for (int64_t i = 0; i < n_cells_; i += n_lanes) {
                store(weights + i, weight_of(load(weights + i), highest));
            }
            shrink_sums(h, highest);
        }
    }

    void shrink_sums(int64_t h, Floats highest) {
        const Floats factor = shrinking(every(highest_[h]), highest);
        highest_[h] = first_of(highest);
        if (first_of(factor) != 1) {
            totals_[h] *= first_of(factor);
            for (int64_t i = 0; i < op_.n_value(); i += n_lanes) {
                store(sums_[h] + i, multiply(load(sums_[h] + i), factor));
            }
        }
    }

    template <int n_heads>
    void add_values(int64_t first) {
        constexpr int n_wide = n_heads == 1 ? 8 : n_heads <= 3 ? 4 : 2;  // 8 to 16 registers of sums
        const int64_t n_value = op_.n_value();
        int64_t column = 0;
        if (n_wide * n_lanes <= n_value) {
            add_columns<n_heads, n_wide, true>(first, 0);
            column = n_wide * n_lanes;
        }
        for (; column + n_wide * n_lanes <= n_value; column += n_wide * n_lanes) {
            add_columns<n_heads, n_wide, false>(first, column);
        }
        for (; column < n_value; column += n_lanes) {
            if (column == 0) {
                add_columns<n_heads, 1, true>(first, column);
            } else {
                add_columns<n_heads, 1, false>(first, column);
            }
        }
    }

    // Adds the weighted values, `n_wide` registers from `column` on; if has_totals, the weights, too.
    template <int n_heads, int n_wide, bool has_totals>
    TEA_FLATTEN void add_columns(int64_t first, int64_t column) {
        Floats sums[n_heads][n_wide];
        Floats totals[n_heads];
        for (int h = 0; h < n_heads; ++h) {
            totals[h] = every(totals_[first + h]);
            for (int w = 0; w < n_wide; ++w) {
                sums[h][w] = load(sums_[first + h] + column + w * n_lanes);
            }
        }
        const int64_t n_first = std::min(n_lanes, op_.n_value() - column);
        for (int64_t i = 0; i < n_cells_; ++i) {
            const ggml_fp16_t* from = value(i) + column;
            fetch_row(value(i + n_ahead) + column, n_wide * n_lanes);
            Floats weights[n_heads];
            for (int h = 0; h < n_heads; ++h) {
                weights[h] = every(weights_[first + h][i]);
                if (has_totals) {
                    totals[h] = add(totals[h], weights[h]);
                }
            }
            for (int w = 0; w < n_wide; ++w) {
                const Floats numbers =
                    n_wide == 1 ? load_first_halves(from, n_first) : load_halves(from + w * n_lanes);
                for (int h = 0; h < n_heads; ++h) {
                    sums[h][w] = multiply_add(weights[h], numbers, sums[h][w]);
                }
            }
        }
        for (int h = 0; h < n_heads; ++h) {
            if (has_totals) {
                totals_[first + h] = first_of(totals[h]);
            }
            for (int w = 0; w < n_wide; ++w) {
                store(sums_[first + h] + column + w * n_lanes, sums[h][w]);
            }
        }
    }

    const Attention& op_;
    int64_t token_;
    int64_t first_;
    int64_t n_;
    const int32_t* cells_ = nullptr;
    int64_t n_cells_ = 0;
    alignas(64) float weights_[max_heads][n_block];  // first, the scores
    alignas(64) float queries_[max_heads][max_width];
    alignas(64) float sums_[max_heads][max_width];  // of weighted values
    float highest_[max_heads];
    float totals_[max_heads];  // sums of the weights
};

}  // namespace

SeenCells find_seen(const Attention& op, int64_t token, int32_t* cells) {
    const uint16_t* mask = op.mask_of(token);
    constexpr uint64_t four_hidden = Attention::hidden * 0x0001000100010001U;
    SeenCells seen{cells, 0, false};
    for (int64_t first = 0; first < op.n_cells(); first += 4) {
        const int64_t end = std::min(first + 4, op.n_cells());
        if (end == first + 4) {
            uint64_t four = 0;
            std::memcpy(&four, mask + first, sizeof four);
            if (four == four_hidden) {
                continue;
            }
        }
        for (int64_t cell = first; cell < end; ++cell) {
            if (mask[cell] != Attention::hidden) {
                cells[seen.n++] = static_cast<int32_t>(cell);
                seen.has_bias = seen.has_bias || mask[cell] != 0;
            }
        }
    }
    CellOrder(op.k).sort(cells, seen.n);
    return seen;
}

void attend_one(const Attention& op, int64_t token, int64_t first, int64_t end, const SeenCells& seen) {
    while (first < end) {
        const int64_t n_left_of_key = op.heads_per_key() - first % op.heads_per_key();
        const int64_t n = std::min({max_heads, n_left_of_key, end - first});
        Heads heads(op, token, first, n);
        heads.attend_to(seen);
        heads.store_results();
        first += n;
    }
}

}  // namespace tea::kernels

#endif
