#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "llama/fork_stamp.hpp"
#include "llama/handle.hpp"
#include "llama/model.hpp"
#include "llama/thread_team.hpp"

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

// Some texts that are computed at once, and the rows of the output where their vectors begin.
struct EmbeddingStep {
    std::vector<size_t> texts;  // indices
    std::vector<size_t> rows;
    size_t n_tokens = 0;
};

// llama.cpp's context for vectors: made by the first step, and grown when a larger one comes. Thread-safe:
// one computes at a time.
class EmbeddingContext {
  public:
    static constexpr uint32_t max_texts = 64;  // of a step

    // `n_out`: floats of a vector. `n_usual`: tokens of most steps.
    EmbeddingContext(std::shared_ptr<const Model> model, Pooling pooling, bool takes_flash_attention,
                     int32_t n_out, int32_t n_usual);
    ~EmbeddingContext();
    EmbeddingContext(const EmbeddingContext&) = delete;
    EmbeddingContext& operator=(const EmbeddingContext&) = delete;

    // `out` has room for the vectors of all texts; those of the step are written. Throws Error{inference},
    // {embedding_not_supported}, {engine_closed}.
    void compute(const Texts& texts, const EmbeddingStep& step, int32_t n_threads, float* out);
    // Frees it. Waits for a step.
    void close();

  private:
    void make(const runtime::Guard& guard, int32_t n_batch, int32_t n_threads);
    void make_for(const runtime::Guard& guard, int32_t n_tokens, int32_t n_threads);
    void fill_batch(const runtime::Guard& guard, const Texts& texts, const EmbeddingStep& step);
    void run(const runtime::Guard& guard);
    void read(const runtime::Guard& guard, const Texts& texts, const EmbeddingStep& step, float* out);
    void leak();

    const std::shared_ptr<const Model> model_;
    const Pooling pooling_;
    const bool takes_flash_attention_;
    const int32_t n_out_;
    const int32_t n_usual_;
    const runtime::ForkStamp fork_stamp_;
    std::mutex mutex_;                     // guards all below
    std::unique_ptr<ThreadTeam> threads_;  // outlives the context
    Handle<llama_context> context_;
    Handle<llama_batch_ext> batch_;
    int32_t n_batch_ = 0;           // tokens that the context takes at once
    bool is_memory_finite_ = true;  // false: the last step had NaN or infinity in it
    bool is_closed_ = false;
};

}  // namespace tea
