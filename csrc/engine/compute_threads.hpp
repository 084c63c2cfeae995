#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/compute_share.hpp"
#include "engine/thread_count.hpp"
#include "ggml.h"
#include "llama.h"

namespace tea {

struct ThreadpoolDeleter {
    void operator()(ggml_threadpool* pool) const;
};
using ThreadpoolPtr = std::unique_ptr<ggml_threadpool, ThreadpoolDeleter>;

// The threads that compute a context's steps: fewer while other processes take processors, and while others
// in this process compute. Free the context first. For one thread at a time.
class ComputeThreads {
  public:
    // `adapts`: else it is always `most`. Throws Error{inference}.
    ComputeThreads(int32_t most, bool adapts);

    int32_t count() const { return count_; }
    // To a new context.
    void attach(llama_context* context) const;
    // Around computing a step; the thread that computes becomes the pool's first. begin_step() throws
    // Error{inference} when threads cannot be started.
    void begin_step(llama_context* context);
    void end_step(bool is_computed);

  private:
    const bool adapts_;
    ThreadCount wanted_;
    ComputeShare share_;
    int32_t count_;
    ThreadpoolPtr pool_;
    std::vector<ThreadpoolPtr> retired_;  // ggml pauses the one before when it computes with the next
};

}  // namespace tea
