#include "machine/thread_budget.hpp"

#include <algorithm>
#include <chrono>

#include "machine/machine.hpp"

namespace tea {

int32_t ThreadBudget::begin_step() {
    const int32_t n_computing = share_.begin_step();
    if (!adapts_) {
        return max_threads_;
    }
    const auto since_start = std::chrono::steady_clock::now().time_since_epoch();
    const double now = std::chrono::duration<double>(since_start).count();
    if (wanted_.is_due(now)) {
        wanted_.observe(now, machine::cpu_time());
    }
    return std::max(1, wanted_.current() / n_computing);
}

}  // namespace tea
