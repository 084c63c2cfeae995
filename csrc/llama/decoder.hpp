#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/options.hpp"
#include "llama/handle.hpp"
#include "llama/model.hpp"
#include "llama/thread_team.hpp"
#include "machine/thread_budget.hpp"
#include "planning/sequence_pool.hpp"

namespace tea {

// Limits of llama.cpp. A test compares them with its own.
constexpr int32_t max_sequences = 256;
constexpr int32_t max_threads = 512;
constexpr int32_t cell_padding = 256;  // KV caches have a multiple of it

// The size of a KV cache that llama.cpp makes for n_cells cells.
int32_t padded_cells(int32_t n_cells);

// Options of a context, with every choice made.
struct DecoderOptions {
    int32_t n_cells;           // largest size of the KV cache; all sequences share it
    int32_t n_cells_at_start;  // its size when it is made
    int32_t n_sequences;
    int32_t n_batch;      // tokens of the largest step
    int32_t n_rows;       // of logits that a step may give
    int64_t cache_bytes;  // of the KV cache with n_cells, and of recurrent states
    int32_t n_threads;
    bool adapts_threads;  // n_threads is the maximum
    KvType cache_type_k;
    KvType cache_type_v;
    FlashAttention flash_attn;
    RopeScaling rope_scaling;
};

// Names everything besides the model that the bytes of a saved sequence depend on.
std::string state_format(const DecoderOptions& options);

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
    // context cannot be made. Any method may throw runtime::Aborted: never use or destroy this object then.
    Decoder(std::shared_ptr<const Model> model, const DecoderOptions& options, bool (*should_abort)(void*),
            void* user_data);

    void clear_batch();
    // Returns the token's index in the batch, for logits().
    int32_t add(int32_t token, int32_t sequence, int32_t position, bool wants_logits);
    int32_t n_threads() const { return threads_.size(); }  // of the last step
    // Computes the batch.
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
    // Forgets all tokens, and overwrites what they left with zeros.
    void clear_memory();

    // Moves everything into a KV cache of n_cells. Returns false when there is no memory for it: all is
    // as before then.
    bool grow(int32_t n_cells);

    // A sequence's share of the memory: llama.cpp's state, and the order of its cells. Empty: llama.cpp could
    // not save it.
    std::vector<uint8_t> save(int32_t sequence);
    // Size of save()'s result, where each token has one cell.
    size_t state_size(int32_t sequence);
    // Fills an empty sequence from what save() gave for n_tokens tokens. Returns false, and leaves it
    // empty, when the memory does not take it.
    bool restore(int32_t sequence, int32_t n_tokens, const std::vector<uint8_t>& state);

    // For an audit. Of a sequence; -1: it is empty.
    int32_t last_position(int32_t sequence) const;
    // Slow.
    int32_t n_used_cells() const;

  private:
    void make_context(int32_t n_cells);
    Handle<llama_context> new_context(const runtime::Guard& guard, int32_t n_cells) const;
    int32_t first_position(int32_t sequence) const;
    size_t state_size() const;  // of all sequences
    void read_state(std::vector<uint8_t>& state) const;

    std::shared_ptr<const Model> model_;
    DecoderOptions options_;
    bool (*should_abort_)(void*);
    void* user_data_;
    ThreadBudget budget_;
    ThreadTeam threads_;  // outlives the context
    Handle<llama_context> context_;
    Handle<llama_batch_ext> batch_;
};

}  // namespace tea
