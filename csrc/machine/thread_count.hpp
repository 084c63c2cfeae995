#pragma once

#include <cstdint>
#include <optional>

#include "machine/machine.hpp"

namespace tea {

// How many threads compute: fewer while others take processors, since llama.cpp's threads wait for each
// other, and one that is not scheduled stalls them all. Decides by what others use, not by trial: a trial of
// one thread too many can cost a whole time slice at each barrier. No clock of its own.
class ThreadCount {
  public:
    // Starts with max_threads; without `adapts` it stays there.
    ThreadCount(int32_t max_threads, bool adapts)
        : max_threads_(max_threads), current_(max_threads), adapts_(adapts) {}

    int32_t current() const { return current_; }
    // Whether observe() should be called, `seconds` being a clock's time.
    bool is_due(double seconds) const { return adapts_ && seconds >= next_; }
    void observe(double seconds, const machine::CpuTime& time);

  private:
    int32_t max_threads_;
    int32_t current_;
    bool adapts_;
    double next_ = 0;
    double last_ = 0;
    std::optional<machine::CpuTime> last_time_;
    int32_t n_quiet_ = 0;  // observations in a row that would allow another thread
};

}  // namespace tea
