#pragma once

#include <array>
#include <cstddef>

namespace tea {

// How long the last steps took.
class StepTimes {
  public:
    void add(double milliseconds) {
        times_[n_added_ % times_.size()] = static_cast<float>(milliseconds);
        ++n_added_;
    }
    // Of the last steps, the time that a fraction of them (0 to 1) did not exceed; 0 when there are none.
    double percentile(double fraction) const;

  private:
    std::array<float, 1024> times_{};
    size_t n_added_ = 0;
};

}  // namespace tea
