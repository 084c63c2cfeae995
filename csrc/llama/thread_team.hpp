#pragma once

#include <cstdint>
#include <vector>

#include "llama/handle.hpp"

namespace tea {

// ggml's threads for one context; the one that computes is their first. Free the context before them.
class ThreadTeam {
  public:
    // Fewer threads where the system starts no more: the log says so.
    explicit ThreadTeam(int32_t n_threads);

    int32_t size() const { return size_; }
    // To a new context.
    void attach(const Handle<llama_context>& context) const;
    // Keeps its size where the system does not start n_threads; it tries again when another number is asked
    // for.
    void resize(const Handle<llama_context>& context, int32_t n_threads);
    // After each step that was computed.
    void free_retired() { retired_.clear(); }

  private:
    int32_t size_;
    int32_t n_refused_ = 0;  // threads that could not be started when they were wanted last
    Handle<ggml_threadpool> pool_;
    std::vector<Handle<ggml_threadpool>>
        retired_;  // ggml pauses the one before when it computes with the next
};

}  // namespace tea
