#pragma once

#include <cstdint>
#include <memory>

#include "engine/model.hpp"
#include "engine/options.hpp"
#include "engine/threadpool.hpp"
#include "ggml.h"
#include "llama-cpp.h"

namespace tea {

// EngineOptions with every "choose for me" decided.
struct EngineConfig {
    int32_t n_ctx;       // tokens of the longest request
    int32_t n_cells;     // of the KV cache, shared by all sequences
    int32_t n_parallel;  // sequences
    int32_t n_threads;
    int32_t n_batch;         // tokens of the largest step
    int32_t n_prompt_chunk;  // prompt tokens of a step while others generate
    bool is_n_ctx_capped;    // automatic, and memory did not allow the trained length
    EngineOptions options;
};

// Throws Error{invalid_argument} naming the option that is out of range or does not fit into memory.
EngineConfig resolve_config(const Model& model, const EngineOptions& options);

// llama.cpp's context with its thread pool and its batch: one step is add() for each token, run(), and
// logits() for each that wanted them. One engine thread makes, uses and destroys it.
class Decoder {
  public:
    enum class Status {
        ok,
        no_slot,  // the KV cache has no room; nothing happened
        aborted,  // should_abort said so; nothing of this step is in the KV cache
        failed,   // the KV cache is in an unknown state: clear_memory()
    };

    // `should_abort(user_data)` is polled while computing (CPU only). Throws Error{inference} when the
    // context cannot be made, runtime::Aborted when llama.cpp gave up.
    Decoder(std::shared_ptr<const Model> model, const EngineConfig& config, ggml_abort_callback should_abort,
            void* user_data);

    void clear_batch() { llama_batch_ext_clear(batch_.get()); }
    // Returns the token's index in the batch, for logits().
    int32_t add(int32_t token, int32_t sequence, int32_t position, bool wants_logits);
    // Computes the batch. Throws runtime::Aborted: never use or destroy this object again.
    Status run();
    float* logits(int32_t batch_index);

    // Drops all but the first n_kept tokens of a sequence.
    void keep(int32_t sequence, int32_t n_kept);
    // Whether a sequence of n_held tokens can be continued after its first n_kept.
    bool can_resume(int32_t sequence, int32_t n_held, int32_t n_kept) const;
    void clear_memory();

    bool uses_flash_attention() const { return uses_flash_attention_; }

  private:
    std::shared_ptr<const Model> model_;
    ThreadpoolPtr threadpool_;  // outlives the context
    llama_context_ptr context_;
    llama_batch_ext_ptr batch_;
    bool uses_flash_attention_ = false;
};

}  // namespace tea
