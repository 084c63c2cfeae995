#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/engine_config.hpp"
#include "llama/decoder.hpp"
#include "llama/model.hpp"
#include "planning/past_store.hpp"
#include "planning/sequence_pool.hpp"

namespace tea {

// Where tokens are kept: the KV cache with its ledger, and the pasts that were moved out of it
// (docs/architecture.md, "The life of a cell"). Engine thread only.
class Memory {
  public:
    using Tokens = std::vector<int32_t>;

    // `should_abort(user_data)`: as Decoder's. Any method may throw runtime::Aborted: abandon() it then.
    Memory(std::shared_ptr<const Model> model, const EngineConfig& config, bool (*should_abort)(void*),
           void* user_data);

    Decoder& decoder() { return *decoder_; }
    const Decoder& decoder() const { return *decoder_; }
    SequencePool& pool() { return pool_; }
    const SequencePool& pool() const { return pool_; }
    int64_t n_parked_tokens() const { return parked_.n_tokens(); }

    // llama.cpp's objects are in an unknown state: they are leaked.
    void abandon() { (void)decoder_.release(); }

    // Cells that the KV cache has or may still get.
    int32_t n_obtainable_cells() const { return can_grow_ ? config_.n_cells : pool_.n_cells(); }
    // There may be memory again for a larger KV cache.
    void retry_growth() { can_grow_ = pool_.n_cells() < config_.n_cells; }
    // Makes the KV cache large enough for n_cells that run and as many idle ones, in powers of two, as far
    // as the configuration and the memory allow.
    void grow_for(int32_t n_cells);

    // Frees n_cells idle cells, or all of them if there are fewer.
    void make_room(int32_t n_cells);
    // After a start: moves out what makes attention slow, and keeps a sequence free for the next request.
    void park() { park(config_.max_idle_cells); }
    // Leading tokens that a parked past has in common with these.
    int32_t n_parked_in_common(const Tokens& tokens) const { return parked_.find(tokens).n_common; }
    // The best match for a prompt in the KV cache, after a better one was moved back in.
    SequencePool::Match fetch(const Tokens& tokens);

    // The pasts that are kept for reuse, the last used first, those in the KV cache before the others.
    std::vector<SavedPast> save_pasts();
    // Keeps them as if they had been computed here, the first ones when not all have room; n_reserved
    // sequences stay free. Returns how many of their tokens are held now. Throws Error{invalid_argument} when
    // one does not fit the memory.
    int64_t load_pasts(const std::vector<SavedPast>& pasts, int32_t n_reserved);

    // Throws std::logic_error when the KV cache does not hold what the ledger says. Slow: for tests.
    void audit() const;

  private:
    void park(int32_t n_idle);
    void keep_outside(int32_t sequence);
    bool load_past(const SavedPast& past);

    std::shared_ptr<const Model> model_;
    EngineConfig config_;
    std::unique_ptr<Decoder> decoder_;
    SequencePool pool_;  // of the decoder's cells
    PastStore parked_;
    bool can_grow_;  // false: the last try found no memory
};

}  // namespace tea
