#pragma once

#include <atomic>
#include <cstdint>

namespace tea {

// One of those who compute in this process: engines and embedders. Any number of them; thread-safe.
class ComputeShare {
  public:
    ComputeShare();
    ~ComputeShare();
    ComputeShare(const ComputeShare&) = delete;
    ComputeShare& operator=(const ComputeShare&) = delete;

    // A step begins. Returns how many compute, this one included: who is in a step, or was a moment ago.
    int32_t begin_step();
    void end_step();

  private:
    std::atomic<int64_t>* active_until_ = nullptr;  // null: more than are counted
};

}  // namespace tea
