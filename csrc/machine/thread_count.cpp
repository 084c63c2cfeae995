#include "machine/thread_count.hpp"

#include <algorithm>

namespace tea {

namespace {

constexpr double interval_s = 0.2;         // /proc/stat counts in hundredths of a second
constexpr double too_much = 0.35;          // of a processor, taken by others: one thread fewer
constexpr double little_enough = 0.2;      // one thread more
constexpr int32_t quiet_observations = 3;  // before that

}  // namespace

void ThreadCount::observe(double seconds, const machine::CpuTime& time) {
    const double elapsed = seconds - last_;
    if (last_time_ && time.n_cpus > 0 && elapsed > 0) {
        const double others =
            std::max(0.0, (time.busy - last_time_->busy) - (time.own - last_time_->own)) / elapsed;
        const double room = static_cast<double>(time.n_cpus) - others;  // processors that nobody else wants
        if (room < static_cast<double>(current_) - too_much) {
            current_ = std::clamp(static_cast<int32_t>(room + too_much), 1, max_threads_);
            n_quiet_ = 0;
        } else if (current_ < max_threads_ && room >= static_cast<double>(current_ + 1) - little_enough) {
            if (++n_quiet_ >= quiet_observations) {
                ++current_;
                n_quiet_ = 0;
            }
        } else {
            n_quiet_ = 0;
        }
    }
    last_ = seconds;
    last_time_ = time;
    next_ = seconds + interval_s;
}

}  // namespace tea
