#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/compute_threads.hpp"
#include "engine/model.hpp"
#include "llama-cpp.h"

namespace tea {

// How the vectors of a text's tokens become the text's.
enum class Pooling {
    from_model,  // as the file says; the mean where it does not
    none,        // they do not: one vector a token
    mean,
    cls,   // the first token's
    last,  // the last token's
    rank,  // a score, by the model's classifier
};

using Texts = std::vector<std::vector<int32_t>>;  // token ids

// Vectors of texts, from a context of its own: runs beside generation. Any thread may call; one computes at
// a time. The context is made by the first call and grown when a longer text comes.
class Embedder {
  public:
    // Throws Error{embedding_not_supported}.
    Embedder(std::shared_ptr<const Model> model, int32_t n_threads, bool adapts_threads, Pooling pooling);
    ~Embedder();
    Embedder(const Embedder&) = delete;
    Embedder& operator=(const Embedder&) = delete;

    int32_t n_out() const;      // floats of one vector; of rank, the classifier's outputs
    int32_t n_longest() const;  // tokens of the longest text
    bool gives_tokens() const { return pooling_ == Pooling::none; }

    // Some texts that are computed at once, and the rows of the output where their vectors begin.
    struct Step {
        std::vector<size_t> texts;  // indices
        std::vector<size_t> rows;
        size_t n_tokens = 0;
    };
    // Packs texts into steps by their length. Throws Error{context_overflow} for a text beyond n_longest(),
    // {inference}.
    std::vector<Step> plan(const Texts& texts);
    // Computes a step of a plan for the same texts. `out` has room for n_out() floats a text, or a token
    // where it gives_tokens(), in the order of the texts; not normalized. Between steps others have their
    // turn.
    void embed(const Texts& texts, const Step& step, float* out);

    // Frees the context; later calls throw Error{engine_closed}. Waits for a call that computes.
    void close();

  private:
    size_t check_lengths(const Texts& texts) const;
    void check_open() const;
    void make_context(int32_t n_batch);
    std::vector<Step> pack(const Texts& texts) const;
    void fill_batch(const Texts& texts, const Step& step);
    void compute();
    void read(const Texts& texts, const Step& step, float* out) const;
    template <typename Work>
    void guarded(Work work);

    const std::shared_ptr<const Model> model_;
    const int32_t n_threads_;
    const bool adapts_threads_;
    const Pooling pooling_;
    const int32_t n_room_;  // tokens of a step of several texts
    const runtime::ForkStamp fork_stamp_;
    std::mutex mutex_;                         // guards all below
    std::unique_ptr<ComputeThreads> threads_;  // outlives the context
    llama_context_ptr context_;
    llama_batch_ext_ptr batch_;
    int32_t n_batch_ = 0;  // tokens the context takes at once
    bool is_closed_ = false;
};

}  // namespace tea
