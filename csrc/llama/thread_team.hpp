#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ggml.h"
#include "llama.h"

namespace tea {

struct ThreadpoolDeleter {
    void operator()(ggml_threadpool* pool) const;
};
using ThreadpoolPtr = std::unique_ptr<ggml_threadpool, ThreadpoolDeleter>;

// ggml's threads for one context; the one that computes is their first. Free the context before them.
class ThreadTeam {
  public:
    // Fewer threads where the system starts no more: the log says so. Not to be made under an AbortGuard.
    explicit ThreadTeam(int32_t n_threads);

    int32_t size() const { return size_; }
    // To a new context.
    void attach(llama_context* context) const;
    // Stays as it is where the system does not start so many; asked again for another number, it tries again.
    void resize(llama_context* context, int32_t n_threads);
    // After each step that was computed.
    void free_retired() { retired_.clear(); }

  private:
    int32_t size_;
    int32_t n_refused_ = 0;  // threads that could not be started when they were wanted last
    ThreadpoolPtr pool_;
    std::vector<ThreadpoolPtr> retired_;  // ggml pauses the one before when it computes with the next
};

}  // namespace tea
