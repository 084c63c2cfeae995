#pragma once

#include <cstddef>
#include <cstdint>

#include "base/options.hpp"
#include "llama/model.hpp"

namespace tea {

// EngineOptions with every "choose for me" decided.
struct EngineConfig {
    int32_t n_ctx;             // tokens of the longest request
    int32_t n_cells;           // most the KV cache may have, shared by all sequences
    int32_t n_cells_at_start;  // what it has at first
    int32_t n_parallel;        // requests that run at once
    int32_t n_sequences;       // they and those kept for reuse
    int32_t n_threads;
    int32_t n_batch;        // tokens of the largest step
    int32_t n_rows;         // of logits that a step may give
    int32_t n_idle_most;    // cells that may be idle when somebody starts
    size_t n_parked_bytes;  // of pasts outside of the KV cache
    int64_t cache_bytes;    // of the KV cache with n_cells, and of recurrent states
    bool is_n_ctx_capped;   // automatic, and memory did not allow the trained length
    EngineOptions options;
};

// Throws Error{invalid_argument} naming the option that is out of range or does not fit into memory.
EngineConfig resolve_config(const Model& model, const EngineOptions& options);

// The size of a KV cache that llama.cpp makes for so many cells.
int32_t padded_cells(int32_t n_cells);

}  // namespace tea
