// Attention of many tokens. Tokens that follow each other and see nearly the same cells are taken together
// with all heads that share keys and values: each lane of a register is one of these queries, so that keys
// and values need not be transposed, and neither the softmax nor a sum goes across lanes. Cells that none of
// them sees (in a unified cache, those of other sequences) are passed over.

#include "kernels/attention_tiles.hpp"

#include <algorithm>
#include <bitset>
#include <cfloat>
#include <cstdint>

#include "kernels/lanes.hpp"

namespace tea::kernels {

#ifdef TEA_LANES

namespace {

using namespace lanes;

constexpr int64_t most_queries = 128;  // of a task
constexpr int64_t n_chunk = 64;        // cells that are taken together
constexpr int64_t n_tile = 8;          // sums in registers
constexpr int64_t least_queries = 8;   // for fewer, lanes would be idle

// Bits of `n_mask` cells, from `first` on.
struct MaskBits {
    MaskBits(const Attention& op, int64_t token, int64_t first) {
        constexpr uint16_t minus_infinity = 0xFC00;
        const uint16_t* mask = op.mask_of(token) + first;
        uint16_t rest[n_mask];
        if (first + n_mask > op.n_cells()) {
            std::fill_n(rest, n_mask, minus_infinity);
            mask = std::copy_n(mask, op.n_cells() - first, rest) - (op.n_cells() - first);
        }
        seen = ~equal_bits(mask, minus_infinity);
        plain = equal_bits(mask, 0);
    }
    static constexpr int64_t n_mask = 32;

    uint32_t seen;
    uint32_t plain;  // nothing is added to the products
};

int64_t n_bits(uint32_t bits) {
    return static_cast<int64_t>(std::bitset<32>(bits).count());
}

// Whether a token sees about the same cells as the one before.
bool is_like_previous(const Attention& op, int64_t token) {
    int64_t n_common = 0;
    int64_t n_seen = 0;
    for (int64_t cell = 0; cell < op.n_cells(); cell += MaskBits::n_mask) {
        const uint32_t before = MaskBits(op, token - 1, cell).seen;
        const uint32_t seen = MaskBits(op, token, cell).seen;
        n_common += n_bits(before & seen);
        n_seen += n_bits(before | seen);
    }
    return 4 * n_common >= 3 * n_seen;
}

// What a thread works in.
struct Scratch {
    Scratch(const Attention& op, float* memory) : n_key(op.n_key()), n_value(op.n_value()) {
        queries = memory;
        sums = queries + most_queries * n_key;
        keys = sums + most_queries * n_value;
        values = keys + n_chunk * n_key;
    }
    static int64_t n_floats(const Attention& op) {
        return (most_queries + n_chunk) * (op.n_key() + op.n_value());
    }

    int64_t n_key;
    int64_t n_value;
    float* queries;  // [block of lanes][number of the key][lane], scaled
    float* sums;     // [block of lanes][number of the value][lane]
    float* keys;     // [cell][number]
    float* values;   // [cell][number]
    alignas(64) float weights[n_chunk][n_lanes];
    alignas(64) float largest[most_queries];
    alignas(64) float totals[most_queries];
};

struct Chunk {
    int32_t cells[n_chunk];
    int64_t n = 0;
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

// Tokens [first, first + n) with the heads that share the keys and values of one.
class Task {
  public:
    Task(const Attention& op, int64_t first_token, int64_t n_tokens, int64_t key_head, Scratch& scratch)
        : op_(op),
          first_token_(first_token),
          n_tokens_(n_tokens),
          n_heads_(op.heads_per_key()),
          first_head_(key_head * op.heads_per_key()),
          s_(scratch) {}

    void run() {
        load_queries();
        std::fill_n(s_.sums, n_blocks() * n_lanes * s_.n_value, 0.0F);
        std::fill_n(s_.largest, n_blocks() * n_lanes, -FLT_MAX);
        std::fill_n(s_.totals, n_blocks() * n_lanes, 0.0F);
        Chunk plain;   // cells that all queries see
        Chunk masked;  // that some do not
        for (int64_t first = 0; first < op_.n_cells(); first += MaskBits::n_mask) {
            uint32_t seen = 0;
            uint32_t all_plain = ~uint32_t{0};
            for (int64_t t = 0; t < n_tokens_; ++t) {
                const MaskBits bits(op_, first_token_ + t, first);
                seen |= bits.seen;
                all_plain &= bits.plain;
            }
            for (int32_t i = 0; i < MaskBits::n_mask && seen >> i != 0; ++i) {
                if ((seen >> i & 1) != 0) {
                    const bool is_masked = (all_plain >> i & 1) == 0;
                    Chunk& chunk = is_masked ? masked : plain;
                    chunk.cells[chunk.n++] = static_cast<int32_t>(first) + i;
                    if (chunk.n == n_chunk) {
                        attend_to(chunk, is_masked);
                        chunk.n = 0;
                    }
                }
            }
        }
        attend_to(plain, false);
        attend_to(masked, true);
        store_results();
    }

  private:
    int64_t n_queries() const { return n_tokens_ * n_heads_; }
    int64_t n_blocks() const { return (n_queries() + n_lanes - 1) / n_lanes; }
    int64_t token_of(int64_t query) const { return first_token_ + query / n_heads_; }
    int64_t head_of(int64_t query) const { return first_head_ + query % n_heads_; }

    void load_queries() {
        const float scale = op_.softcap == 0 ? op_.scale : op_.scale / op_.softcap;
        for (int64_t block = 0; block < n_blocks(); ++block) {
            const uint8_t* rows[n_lanes];
            for (int64_t lane = 0; lane < n_lanes; ++lane) {  // those past the last are not stored
                const int64_t query = std::min(block * n_lanes + lane, n_queries() - 1);
                rows[lane] = reinterpret_cast<const uint8_t*>(op_.query(token_of(query), head_of(query)));
            }
            float* to = s_.queries + block * n_lanes * s_.n_key;
            for (int64_t i = 0; i < s_.n_key; i += 4) {
                Ints columns[4];
                transpose(rows, i * static_cast<int64_t>(sizeof(float)), columns);
                for (int64_t j = 0; j < 4; ++j) {
                    store(to + (i + j) * n_lanes, multiply(as_floats(columns[j]), every(scale)));
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
                shares[lane] = total > 0 ? 1 / total : 0;  // 0: it sees nothing
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

    void attend_to(const Chunk& chunk, bool is_masked) {
        if (chunk.n == 0) {
            return;
        }
        for (int64_t i = 0; i < chunk.n; ++i) {
            ggml_cpu_fp16_to_fp32(op_.key(chunk.cells[i], first_head_), s_.keys + i * s_.n_key, s_.n_key);
            ggml_cpu_fp16_to_fp32(op_.value(chunk.cells[i], first_head_), s_.values + i * s_.n_value,
                                  s_.n_value);
        }
        for (int64_t block = 0; block < n_blocks(); ++block) {
            multiply_keys(block, chunk.n);
            if (is_masked) {
                add_mask(block, chunk);
            }
            take_softmax(block, chunk.n);
            add_values(block, chunk.n);
        }
    }

    void multiply_keys(int64_t block, int64_t n_cells) {
        const float* queries = s_.queries + block * n_lanes * s_.n_key;
        for (int64_t cell = 0; cell < n_cells; cell += n_tile) {  // past the last: what was there before
            Floats sums[n_tile];
            std::fill_n(sums, n_tile, zeros());
            multiply_tile(queries, s_.keys + cell * s_.n_key, 1, s_.n_key, s_.n_key, sums);
            for (int64_t i = 0; i < n_tile; ++i) {
                if (op_.softcap != 0) {  // tanh(x) = 1 - 2 / (exp(2 x) + 1)
                    const Floats power = add(exp(add(sums[i], sums[i])), every(1));
                    sums[i] = multiply_add(divide(every(-2), power), every(op_.softcap), every(op_.softcap));
                }
                store(s_.weights[cell + i], sums[i]);
            }
        }
    }

    void add_mask(int64_t block, const Chunk& chunk) {
        const int64_t end = std::min((block + 1) * n_lanes, n_queries());
        for (int64_t query = block * n_lanes; query < end; ++query) {
            const uint16_t* mask = op_.mask_of(token_of(query));
            for (int64_t i = 0; i < chunk.n; ++i) {
                s_.weights[i][query % n_lanes] += GGML_CPU_FP16_TO_FP32(mask[chunk.cells[i]]);
            }
        }
    }

    // Of this chunk and those before it.
    void take_softmax(int64_t block, int64_t n_cells) {
        float* largest = s_.largest + block * n_lanes;
        float* totals = s_.totals + block * n_lanes;
        const Floats before = load(largest);
        Floats most = before;
        for (int64_t i = 0; i < n_cells; ++i) {
            most = maximum(most, load(s_.weights[i]));
        }
        store(largest, most);
        const Floats shrink = exp(subtract(before, most));
        Floats total = multiply(load(totals), shrink);
        for (int64_t i = 0; i < n_cells; ++i) {
            const Floats weight = exp(subtract(load(s_.weights[i]), most));
            store(s_.weights[i], weight);
            total = add(total, weight);
        }
        store(totals, total);
        float* sums = s_.sums + block * n_lanes * s_.n_value;
        for (int64_t i = 0; i < s_.n_value; ++i) {
            store(sums + i * n_lanes, multiply(load(sums + i * n_lanes), shrink));
        }
    }

    void add_values(int64_t block, int64_t n_cells) {
        float* to = s_.sums + block * n_lanes * s_.n_value;
        for (int64_t i = 0; i < s_.n_value; i += n_tile) {
            Floats sums[n_tile];
            for (int64_t j = 0; j < n_tile; ++j) {
                sums[j] = load(to + (i + j) * n_lanes);
            }
            multiply_tile(s_.weights[0], s_.values + i, s_.n_value, 1, n_cells, sums);
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

size_t thread_bytes(const Attention& op) {
    const size_t n_bytes = static_cast<size_t>(Scratch::n_floats(op)) * sizeof(float) +
                           static_cast<size_t>(op.n_tokens()) * sizeof(int32_t);
    return (n_bytes + 63) / 64 * 64;
}

}  // namespace

bool has_tiles(const Attention& op) {
    return op.n_tokens() >= 16 && op.n_key() % n_tile == 0 && op.n_value() % n_tile == 0 &&
           op.heads_per_key() <= most_queries;
}

size_t tiles_work_bytes(const Attention& op, int64_t n_threads) {
    return 64 + static_cast<size_t>(n_threads) * thread_bytes(op);
}

void attend_in_tiles(const Attention& op, const ggml_compute_params* params) {
    auto* work = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(params->wdata) + 63) / 64 * 64 +
                                          static_cast<size_t>(params->ith) * thread_bytes(op));
    Scratch scratch(op, work);
    // Groups of tokens, by their first; each thread finds them for itself.
    auto* firsts = reinterpret_cast<int32_t*>(work + Scratch::n_floats(op));
    int64_t n_groups = 0;
    for (int64_t token = 0; token < op.n_tokens(); ++token) {
        const bool is_full =
            n_groups > 0 && (token - firsts[n_groups - 1] + 1) * op.heads_per_key() > most_queries;
        if (token == 0 || is_full || !is_like_previous(op, token)) {
            firsts[n_groups++] = static_cast<int32_t>(token);
        }
    }
    if (params->ith == 0) {
        ggml_threadpool_chunk_set(params->threadpool, params->nth);
    }
    ggml_barrier(params->threadpool);
    const int64_t n_key_heads = op.k->ne[2];
    for (int64_t i = params->ith; i < n_groups * n_key_heads;
         i = ggml_threadpool_chunk_add(params->threadpool, 1)) {
        const int64_t group = n_groups - 1 - i / n_key_heads;  // the longest first, about
        const int64_t first = firsts[group];
        const int64_t n = (group + 1 < n_groups ? firsts[group + 1] : op.n_tokens()) - first;
        const int64_t key_head = i % n_key_heads;
        if (n * op.heads_per_key() < least_queries) {
            for (int64_t token = first; token < first + n; ++token) {
                attend_one(op, token, key_head * op.heads_per_key(), op.heads_per_key());
            }
        } else {
            Task(op, first, n, key_head, scratch).run();
        }
    }
}

#else

bool has_tiles(const Attention& /*op*/) {
    return false;
}
size_t tiles_work_bytes(const Attention& /*op*/, int64_t /*n_threads*/) {
    return 0;
}
void attend_in_tiles(const Attention& /*op*/, const ggml_compute_params* /*params*/) {}

#endif

}  // namespace tea::kernels
