#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "llama/embedding_context.hpp"
#include "llama/fork_stamp.hpp"
#include "llama/model.hpp"
#include "machine/thread_budget.hpp"

namespace tea {

// Vectors of texts, from contexts of its own: runs beside generation. Any thread may call. Texts are packed
// into steps; several steps are computed side by side, each by one thread, which waits for no other.
class Embedder {
  public:
    // `adapts_threads`: n_threads is the maximum. Throws Error{embedding_not_supported}.
    Embedder(std::shared_ptr<const Model> model, int32_t n_threads, bool adapts_threads, Pooling pooling);

    int32_t n_out() const { return n_out_; }  // floats of one vector; of rank, the classifier's outputs
    int32_t n_longest() const;                // tokens of the longest text
    bool gives_tokens() const { return pooling_ == Pooling::none; }

    // `out` has room for n_out() floats a text, or a token where it gives_tokens(), in the order of the
    // texts; not normalized. The calling thread computes, too, and calls `between_steps` after each step,
    // which may throw. Throws Error{context_overflow} for a text beyond n_longest(), {inference},
    // {engine_closed}.
    void embed(const Texts& texts, float* out, const std::function<void()>& between_steps);

    // Frees the contexts; other calls throw Error{engine_closed} from here on. Waits for steps that are
    // computed.
    void close();

  private:
    void check_lengths(const Texts& texts) const;
    std::vector<EmbeddingStep> pack(const Texts& texts) const;
    int32_t begin_step();
    void end_step();
    void embed_side_by_side(const Texts& texts, const std::vector<EmbeddingStep>& steps, size_t first,
                            float* out, const std::function<void()>& between_steps);

    const std::shared_ptr<const Model> model_;
    const Pooling pooling_;
    const int32_t n_out_;
    const int32_t n_room_;  // tokens of a step of several texts
    const runtime::ForkStamp fork_stamp_;
    std::mutex mutex_;  // guards the budget
    ThreadBudget budget_;
    std::vector<std::unique_ptr<EmbeddingContext>> contexts_;  // one for each thread
};

}  // namespace tea
