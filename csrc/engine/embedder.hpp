#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/model.hpp"
#include "engine/threadpool.hpp"
#include "llama-cpp.h"

namespace tea {

// One vector for each text, from a context of its own: runs beside generation. Any thread may call;
// one computes at a time. The context is made by the first call and grown when a longer text comes.
class Embedder {
  public:
    // Throws Error{embedding_not_supported}.
    Embedder(std::shared_ptr<const Model> model, int32_t n_threads);
    ~Embedder();
    Embedder(const Embedder&) = delete;
    Embedder& operator=(const Embedder&) = delete;

    int32_t n_embd() const;
    int32_t n_longest() const;  // tokens of the longest text

    // `out` has room for texts.size() * n_embd() floats, not normalized. Texts are packed into as few
    // steps as they fit in. Throws Error{context_overflow} for a text beyond n_longest(), {inference}.
    void embed(const std::vector<std::vector<int32_t>>& texts, float* out);

    // Frees the context; later calls throw Error{engine_closed}. Waits for a call that computes.
    void close();

  private:
    void check_length(const std::vector<int32_t>& text) const;
    void make_context(int32_t n_batch);
    size_t fill_batch(const std::vector<std::vector<int32_t>>& texts, size_t begin);
    void compute();

    const std::shared_ptr<const Model> model_;
    const int32_t n_threads_;
    const runtime::ForkStamp fork_stamp_;
    std::mutex mutex_;          // guards all below
    ThreadpoolPtr threadpool_;  // outlives the context
    llama_context_ptr context_;
    llama_batch_ext_ptr batch_;
    int32_t n_batch_ = 0;  // tokens a step of the context takes
    bool is_closed_ = false;
};

}  // namespace tea
