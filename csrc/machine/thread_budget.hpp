#pragma once

#include <cstdint>

#include "machine/compute_share.hpp"
#include "machine/thread_count.hpp"

namespace tea {

// How many threads may compute: fewer while other processes take processors, and while others in this process
// compute. For one thread at a time.
class ThreadBudget {
  public:
    // `adapts`: else it is always `max_threads`.
    ThreadBudget(int32_t max_threads, bool adapts)
        : max_threads_(max_threads), adapts_(adapts), wanted_(max_threads, adapts) {}

    // Around each step.
    int32_t begin_step();
    void end_step() { share_.end_step(); }

  private:
    const int32_t max_threads_;
    const bool adapts_;
    ThreadCount wanted_;
    ComputeShare share_;
};

}  // namespace tea
