// Attention of many tokens. Consecutive tokens that see nearly the same cells form a group, together with all
// heads that share keys and values. Each lane of a register holds one of these queries, so keys and values
// need no transposition, and neither the softmax nor a sum crosses lanes. Cells that no token of the group
// sees (in a unified cache, those of other sequences) are skipped.

#include "kernels/attention_tiles.hpp"

#include <algorithm>
#include <bitset>
#include <cmath>
#include <cstdint>

#include "kernels/attention_rows.hpp"
#include "kernels/cell_order.hpp"
#include "kernels/lanes.hpp"
#include "kernels/softmax.hpp"

#ifdef TEA_LANES

namespace tea::kernels {

namespace {

using namespace lanes;

constexpr int64_t max_queries = 128;  // of a task
constexpr int64_t n_chunk = 64;       // cells per softmax
constexpr int64_t n_tile = 8;         // sums in registers
constexpr int64_t min_queries = 8;    // with fewer, lanes would be idle

// Bits of `n_mask` cells, from `first` on.
struct MaskBits {
    MaskBits(const Attention& op, int64_t token, int64_t first) {
        const uint16_t* mask = op.mask_of(token) + first;
        uint16_t rest[n_mask];
        if (first + n_mask > op.n_cells()) {
            std::fill_n(rest, n_mask, Attention::hidden);
            std::copy_n(mask, op.n_cells() - first, rest);
            mask = rest;
        }
        seen = ~equal_bits(mask, Attention::hidden);
        plain = equal_bits(mask, 0);
    }
    static constexpr int64_t n_mask = 32;

    uint32_t seen;
    uint32_t plain;  // cells whose mask is 0: nothing to add to the products
};

int64_t n_bits(uint32_t bits) {
    return static_cast<int64_t>(std::bitset<32>(bits).count());
}

int64_t n_mask_words(const Attention& op) {
    return (op.n_cells() + MaskBits::n_mask - 1) / MaskBits::n_mask;
}

// Marks the first token of each group in [first, end). A group grows while no token in it would have to skip
// many more cells than it sees. `bits` has one for each cell.
void mark_groups(const Attention& op, int64_t first, int64_t end, uint32_t* bits, uint8_t* begins_group) {
    const int64_t n_words = n_mask_words(op);
    int64_t first_of_group = first;
    for (int64_t token = first; token < end; ++token) {
        int64_t n_seen = 0;
        int64_t n_all = 0;
        for (int64_t i = 0; token > first && i < n_words; ++i) {
            const uint32_t seen = MaskBits(op, token, i * MaskBits::n_mask).seen;
            n_seen += n_bits(seen);
            n_all += n_bits(seen | bits[i]);
        }
        const bool is_full = (token - first_of_group + 1) * op.heads_per_key() > max_queries;
        begins_group[token] = token == first || is_full || 3 * n_all > 4 * n_seen ? 1 : 0;
        if (begins_group[token] != 0) {
            first_of_group = token;
            std::fill_n(bits, n_words, 0);
        }
        for (int64_t i = 0; i < n_words; ++i) {
            bits[i] |= MaskBits(op, token, i * MaskBits::n_mask).seen;
        }
    }
}

// The memory of one thread.
struct Scratch {
    Scratch(const Attention& op, void* memory) : n_key(op.n_key()), n_value(op.n_value()) {
        queries = static_cast<float*>(memory);
        sums = queries + max_queries * n_key;
        keys = sums + max_queries * n_value;
        values = keys + n_chunk * n_key;
        cells = reinterpret_cast<int32_t*>(values + n_chunk * n_value);
        bits = reinterpret_cast<uint32_t*>(cells + op.n_cells());
    }
    static size_t n_bytes(const Attention& op) {
        const int64_t n =
            (max_queries + n_chunk) * (op.n_key() + op.n_value()) + op.n_cells() + n_mask_words(op);
        return aligned(static_cast<size_t>(n) * sizeof(float));
    }

    int64_t n_key;
    int64_t n_value;
    float* queries;  // [block of lanes][number of the key][lane], scaled
    float* sums;     // [block of lanes][number of the value][lane]
    float* keys;     // [cell][number]
    float* values;   // [cell][number]
    int32_t* cells;  // that a group, or a token that is computed alone, sees
    uint32_t* bits;  // while groups are made: of the cells that a group sees; then of those that are plain
    alignas(64) float weights[n_chunk][n_lanes];
    alignas(64) float highest[max_queries];
    alignas(64) float totals[max_queries];
};

// Cells that follow each other among those that a group sees.
struct Chunk {
    const int32_t* cells;
    int64_t n;
};

// sums[i] += factor of the lane * numbers[i], for each of `n_inner` steps.
inline void multiply_tile(const float* lanes_of_step, const float* numbers, int64_t step, int64_t next_number,
                          int64_t n_inner, Floats* sums) {
    for (int64_t i = 0; i < n_inner; ++i) {
        const Floats factors = load(lanes_of_step + i * n_lanes);
        for (int64_t c = 0; c < n_tile; ++c) {
            sums[c] = multiply_add(factors, every(numbers[i * step + c * next_number]), sums[c]);
        }
    }
}

// Tokens [first, first + n) and the heads that share one head's keys and values.
class Task {
  public:
    Task(const Attention& op, int64_t first_token, int64_t n_tokens, int64_t key_head, Scratch& scratch)
        : op_(op),
          first_token_(first_token),
          n_tokens_(n_tokens),
          n_heads_(op.heads_per_key()),
          first_head_(key_head * op.heads_per_key()),
          s_(scratch) {}

    // Returns false if a value is infinite or NaN: it would spoil the sums of queries that do not see its
    // cell.
    bool run() {
        load_queries();
        std::fill_n(s_.sums, n_blocks() * n_lanes * s_.n_value, 0.0F);
        std::fill_n(s_.highest, n_blocks() * n_lanes, lowest_power);
        std::fill_n(s_.totals, n_blocks() * n_lanes, 0.0F);
        const int64_t n = find_seen_by_any();
        for (int64_t first = 0; first < n; first += n_chunk) {
            if (!attend_to({s_.cells + first, std::min(n_chunk, n - first)})) {
                return false;
            }
        }
        for (int64_t block = 0; op_.sink(0) != nullptr && block < n_blocks(); ++block) {
            add_sinks(block);
        }
        store_results();
        return true;
    }

  private:
    int64_t n_queries() const { return n_tokens_ * n_heads_; }
    int64_t n_blocks() const { return (n_queries() + n_lanes - 1) / n_lanes; }
    int64_t token_of(int64_t query) const { return first_token_ + query / n_heads_; }
    int64_t head_of(int64_t query) const { return first_head_ + query % n_heads_; }

    // Returns the number of cells that a query sees. Marks those that are plain: all queries see them, and
    // the mask adds nothing.
    int64_t find_seen_by_any() {
        int64_t n = 0;
        for (int64_t first = 0; first < op_.n_cells(); first += MaskBits::n_mask) {
            uint32_t seen = 0;
            uint32_t plain = ~uint32_t{0};
            for (int64_t t = 0; t < n_tokens_; ++t) {
                const MaskBits bits(op_, first_token_ + t, first);
                seen |= bits.seen;
                plain &= bits.plain;
            }
            s_.bits[first / MaskBits::n_mask] = plain;
            for (int32_t i = 0; i < MaskBits::n_mask && seen >> i != 0; ++i) {
                s_.cells[n] = static_cast<int32_t>(first) + i;
                n += seen >> i & 1;
            }
        }
        CellOrder(op_.k).sort(s_.cells, n);
        return n;
    }

    bool is_plain(int32_t cell) const {
        return (s_.bits[cell / MaskBits::n_mask] >> cell % MaskBits::n_mask & 1) != 0;
    }

    void load_queries() {
        const Floats scale = every(query_scale(op_));
        for (int64_t block = 0; block < n_blocks(); ++block) {
            const uint8_t* rows[n_lanes];
            for (int64_t lane = 0; lane < n_lanes; ++lane) {  // queries past the last one are not stored
                const int64_t query = std::min(block * n_lanes + lane, n_queries() - 1);
                rows[lane] = reinterpret_cast<const uint8_t*>(op_.query(token_of(query), head_of(query)));
            }
            float* to = s_.queries + block * n_lanes * s_.n_key;
            for (int64_t i = 0; i < s_.n_key; i += 4) {
                Ints columns[4];
                transpose(rows, i * static_cast<int64_t>(sizeof(float)), columns);
                for (int64_t j = 0; j < 4; ++j) {
                    store(to + (i + j) * n_lanes, multiply(as_floats(columns[j]), scale));
                }
            }
        }
    }

    void store_results() const {
        for (int64_t block = 0; block < n_blocks(); ++block) {
            float* rows[n_lanes];
            alignas(64) float unused[n_lanes][4];
            for (int64_t lane = 0; lane < n_lanes; ++lane) {
                const int64_t query = block * n_lanes + lane;
                rows[lane] = query < n_queries() ? op_.result(token_of(query), head_of(query)) : nullptr;
            }
            alignas(64) float shares[n_lanes];
            for (int64_t lane = 0; lane < n_lanes; ++lane) {
                const float total = s_.totals[block * n_lanes + lane];
                shares[lane] = total > 0 ? 1 / total : 0;  // 0: the query sees no cell
            }
            const float* from = s_.sums + block * n_lanes * s_.n_value;
            for (int64_t i = 0; i < s_.n_value; i += 4) {
                Floats columns[4];
                float* places[n_lanes];
                for (int64_t j = 0; j < 4; ++j) {
                    columns[j] = multiply(load(from + (i + j) * n_lanes), load(shares));
                }
                for (int64_t lane = 0; lane < n_lanes; ++lane) {
                    places[lane] = rows[lane] == nullptr ? unused[lane] : rows[lane] + i;
                }
                store_transposed(columns, places);
            }
        }
    }

    bool attend_to(const Chunk& chunk) {
        for (int64_t i = 0; i < chunk.n; ++i) {
            ggml_cpu_fp16_to_fp32(op_.key(chunk.cells[i], first_head_), s_.keys + i * s_.n_key, s_.n_key);
            ggml_cpu_fp16_to_fp32(op_.value(chunk.cells[i], first_head_), s_.values + i * s_.n_value,
                                  s_.n_value);
        }
        const bool is_masked =
            !std::all_of(chunk.cells, chunk.cells + chunk.n, [&](int32_t cell) { return is_plain(cell); });
        if (is_masked && !are_finite(s_.values, chunk.n * s_.n_value)) {
            return false;
        }
        for (int64_t block = 0; block < n_blocks(); ++block) {
            multiply_keys(block, chunk.n);
            if (is_masked) {
                add_mask(block, chunk);
            }
            take_softmax(block, chunk.n);
            add_values(block, chunk.n);
        }
        return true;
    }

    static bool are_finite(const float* numbers, int64_t n) {  // n: in steps of n_tile
        Floats sum = zeros();
        for (int64_t i = 0; i < n; i += n_lanes) {
            sum = multiply_add(load_first(numbers + i, std::min(n - i, n_lanes)), zeros(), sum);
        }
        alignas(4 * n_lanes) float sums[n_lanes];
        store(sums, sum);
        return std::all_of(sums, sums + n_lanes, [](float x) { return x == 0; });
    }

    void multiply_keys(int64_t block, int64_t n_cells) {
        const float* queries = s_.queries + block * n_lanes * s_.n_key;
        for (int64_t cell = 0; cell < n_cells;
             cell += n_tile) {  // cells past the last one: stale numbers, not used
            Floats sums[n_tile];
            std::fill_n(sums, n_tile, zeros());
            multiply_tile(queries, s_.keys + cell * s_.n_key, 1, s_.n_key, s_.n_key, sums);
            for (int64_t i = 0; i < n_tile; ++i) {
                store(s_.weights[cell + i], score_of(op_, sums[i]));
            }
        }
    }

    void add_mask(int64_t block, const Chunk& chunk) {
        const int64_t end = std::min((block + 1) * n_lanes, n_queries());
        for (int64_t query = block * n_lanes; query < end; ++query) {
            const uint16_t* mask = op_.mask_of(token_of(query));
            const float slope = op_.slope(head_of(query));
            for (int64_t i = 0; i < chunk.n; ++i) {
                const uint16_t bias = mask[chunk.cells[i]];
                float& score = s_.weights[i][query % n_lanes];
                score = bias == Attention::hidden ? hidden_score
                                                  : score + GGML_CPU_FP16_TO_FP32(bias) * log2_of_e * slope;
            }
        }
    }

    // Turns the scores into weights.
    void take_softmax(int64_t block, int64_t n_cells) {
        float* totals = s_.totals + block * n_lanes;
        const Floats before = load(s_.highest + block * n_lanes);
        Floats highest = before;
        for (int64_t i = 0; i < n_cells; ++i) {
            highest = maximum(highest, nearest_integers(load(s_.weights[i])));
        }
        shrink_sums(block, highest);
        Floats total = load(totals);
        for (int64_t i = 0; i < n_cells; ++i) {
            const Floats weight = weight_of(load(s_.weights[i]), highest);
            store(s_.weights[i], weight);
            total = add(total, weight);
        }
        store(totals, total);
    }

    void shrink_sums(int64_t block, Floats highest) {
        float* before = s_.highest + block * n_lanes;
        const Floats factor = shrinking(load(before), highest);
        store(before, highest);
        float* totals = s_.totals + block * n_lanes;
        store(totals, multiply(load(totals), factor));
        float* sums = s_.sums + block * n_lanes * s_.n_value;
        for (int64_t i = 0; i < s_.n_value; ++i) {
            store(sums + i * n_lanes, multiply(load(sums + i * n_lanes), factor));
        }
    }

    void add_sinks(int64_t block) {
        alignas(64) float scores[n_lanes];
        for (int64_t lane = 0; lane < n_lanes; ++lane) {
            const int64_t query = std::min(block * n_lanes + lane, n_queries() - 1);
            scores[lane] = *op_.sink(head_of(query)) * log2_of_e;
        }
        float* totals = s_.totals + block * n_lanes;
        const Floats score = load(scores);
        const Floats highest = maximum(load(s_.highest + block * n_lanes), nearest_integers(score));
        shrink_sums(block, highest);
        store(totals, add(load(totals), weight_of(score, highest)));
    }

    void add_values(int64_t block, int64_t n_cells) {
        float* to = s_.sums + block * n_lanes * s_.n_value;
        for (int64_t i = 0; i < s_.n_value; i += n_tile) {
            Floats sums[n_tile];
            for (int64_t j = 0; j < n_tile; ++j) {
                sums[j] = load(to + (i + j) * n_lanes);
            }
            multiply_tile(&s_.weights[0][0], s_.values + i, s_.n_value, 1, n_cells, sums);
            for (int64_t j = 0; j < n_tile; ++j) {
                store(to + (i + j) * n_lanes, sums[j]);
            }
        }
    }

    const Attention& op_;
    int64_t first_token_;
    int64_t n_tokens_;
    int64_t n_heads_;
    int64_t first_head_;
    Scratch& s_;
};

void attend_group(const Attention& op, int64_t first_token, int64_t n_tokens, int64_t key_head,
                  Scratch& scratch) {
    const int64_t n_heads = op.heads_per_key();
    if (n_tokens * n_heads >= min_queries && Task(op, first_token, n_tokens, key_head, scratch).run()) {
        return;
    }
    for (int64_t token = first_token; token < first_token + n_tokens; ++token) {
        attend_one(op, token, key_head * n_heads, (key_head + 1) * n_heads,
                   find_seen(op, token, scratch.cells));
    }
}

}  // namespace

bool fits_tiles(const Attention& op) {
    return op.heads_per_key() <= max_queries;
}

size_t tiles_work_bytes(const Attention& op, int64_t n_threads) {
    return n_align + aligned(static_cast<size_t>(op.n_tokens())) +
           static_cast<size_t>(n_threads) * Scratch::n_bytes(op);
}

void attend_in_tiles(const Attention& op, const ggml_compute_params* params) {
    auto* begins_group = aligned(params->wdata);
    Scratch scratch(op, begins_group + aligned(static_cast<size_t>(op.n_tokens())) +
                            static_cast<size_t>(params->ith) * Scratch::n_bytes(op));
    // Each thread groups its own share of the tokens, so that there are at least as many groups as threads.
    mark_groups(op, params->ith * op.n_tokens() / params->nth,
                (params->ith + 1) * op.n_tokens() / params->nth, scratch.bits, begins_group);
    if (params->ith == 0) {
        ggml_threadpool_chunk_set(params->threadpool, params->nth);
    }
    ggml_barrier(params->threadpool);
    int64_t task = 0;
    int64_t mine = params->ith;  // a thread's first task is fixed; then it takes the next free one
    for (int64_t end = op.n_tokens(); end > 0;) {  // the last tokens first: they see most cells
        int64_t first = end - 1;
        while (begins_group[first] == 0) {
            --first;
        }
        for (int64_t key_head = 0; key_head < op.k->ne[2]; ++key_head, ++task) {
            if (task == mine) {
                attend_group(op, first, end - first, key_head, scratch);
                mine = ggml_threadpool_chunk_add(params->threadpool, 1);
            }
        }
        end = first;
    }
}
}  // namespace tea::kernels

#endif
