#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/options.hpp"
#include "llama/decoder.hpp"
#include "llama/footprint.hpp"
#include "llama/model.hpp"

namespace tea {

// EngineOptions with every "choose for me" decided. Its n_sequences are those that run and those kept for
// reuse.
struct EngineConfig : DecoderOptions {
    int32_t n_ctx;           // tokens of the longest request
    int32_t n_parallel;      // requests that run at once
    int32_t max_idle_cells;  // cells that may be idle when somebody starts
    size_t n_parked_bytes;   // of pasts outside of the KV cache
    int32_t n_step;          // tokens that a step computes at most
    bool is_n_ctx_capped;    // automatic, and memory did not allow the trained length
    EngineOptions options;
};

// Throws Error{invalid_argument} naming the option that is out of range or does not fit into memory.
EngineConfig resolve_config(const Model& model, const EngineOptions& options);

// The memory that a file's model would take without a GPU, in a context of options.n_ctx tokens. Its weights
// are not read. Throws Error{model_load}, or {inference} as FootprintMeter does.
Footprint estimate_footprint(const std::string& path, const EngineOptions& options);

}  // namespace tea
