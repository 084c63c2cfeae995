#include "planning/step_times.hpp"

#include <algorithm>
#include <vector>

namespace tea {

double StepTimes::percentile(double fraction) const {
    const size_t n = std::min(n_added_, times_.size());
    if (n == 0) {
        return 0;
    }
    std::vector<float> times(times_.begin(), times_.begin() + static_cast<std::ptrdiff_t>(n));
    const auto at = times.begin() + static_cast<std::ptrdiff_t>(fraction * static_cast<double>(n - 1));
    std::nth_element(times.begin(), at, times.end());
    return *at;
}

}  // namespace tea
