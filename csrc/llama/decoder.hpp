#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/engine_config.hpp"
#include "ggml.h"
#include "llama-cpp.h"
#include "llama/abort_guard.hpp"
#include "llama/model.hpp"
#include "llama/thread_team.hpp"
#include "machine/thread_budget.hpp"
#include "planning/sequence_pool.hpp"

namespace tea {

// What a context of so many cells is asked for.
llama_context_params context_params(const EngineConfig& config, int32_t n_cells);

// llama.cpp's context with its thread pool and its batch: one step is add() for each token, run(), and
// logits() for each that wanted them. One engine thread makes, uses and destroys it.
class Decoder : public SequenceMemory {
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
    int32_t n_threads() const { return threads_.size(); }  // of the last step
    // Computes the batch. Throws runtime::Aborted: never use or destroy this object again.
    Status run();
    float* logits(int32_t batch_index);

    void trim(int32_t sequence, int32_t n_kept) override;
    bool copy(int32_t from, int32_t to, int32_t n) override;
    // The most tokens that two sequences may have in common. Cells of a sliding window are used again when
    // they have left it, but not if two sequences hold them: shared ones fill the cache with what nobody
    // sees.
    int32_t n_shareable() const;
    // `to` holds the same first n tokens as `from`, in cells of its own: from now on in those of `from`.
    void merge_beginning(int32_t from, int32_t to, int32_t n);
    bool can_resume(int32_t sequence, int32_t n_held, int32_t n_kept) const override;
    bool keeps_everything() const override { return model_->memory_class() == MemoryClass::full; }
    void clear_memory();

    // Moves everything into a KV cache of n_cells. Returns false when there is no memory for it: all is
    // as before then.
    bool grow(int32_t n_cells);

    // What the memory holds of a sequence, in llama.cpp's format; empty: it could not be had.
    std::vector<uint8_t> save(int32_t sequence);
    // Bytes of that.
    size_t state_size(int32_t sequence);
    // Fills an empty sequence from what save() gave for n_tokens tokens. Returns false, and leaves it
    // empty, when the memory does not take it.
    bool restore(int32_t sequence, int32_t n_tokens, const std::vector<uint8_t>& state);

    // Throws std::logic_error when the KV cache does not hold what the pool says. Slow: for tests.
    void audit(const SequencePool& pool);

  private:
    void make_context(int32_t n_cells);
    llama_memory_t memory() const { return llama_get_memory(context_.get()); }

    std::shared_ptr<const Model> model_;
    EngineConfig config_;
    ggml_abort_callback should_abort_;
    void* user_data_;
    ThreadBudget budget_;
    ThreadTeam threads_;  // outlives the context
    llama_context_ptr context_;
    llama_batch_ext_ptr batch_;
};

}  // namespace tea
