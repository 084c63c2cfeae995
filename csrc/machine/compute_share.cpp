#include "machine/compute_share.hpp"

#include <algorithm>
#include <array>
#include <chrono>

namespace tea {

namespace {

using Clock = std::chrono::steady_clock;
constexpr int64_t max_step = std::chrono::nanoseconds(std::chrono::seconds(10)).count();
constexpr int64_t between_steps = std::chrono::nanoseconds(std::chrono::milliseconds(100)).count();
constexpr int64_t is_free = 0;
constexpr int64_t is_idle = 1;

// Until when each counts as computing, in the clock's nanoseconds: whatever happens to one that computes (its
// process may be forked), it is not counted for ever.
std::array<std::atomic<int64_t>, 64> places{};

std::atomic<int64_t>* take_place() {
    for (auto& place : places) {
        int64_t expected = is_free;
        if (place.compare_exchange_strong(expected, is_idle)) {
            return &place;
        }
    }
    return nullptr;
}

int64_t now_ns() {
    return std::chrono::nanoseconds(Clock::now().time_since_epoch()).count();
}

}  // namespace

ComputeShare::ComputeShare() : active_until_(take_place()) {}

ComputeShare::~ComputeShare() {
    if (active_until_ != nullptr) {
        active_until_->store(is_free);
    }
}

int32_t ComputeShare::begin_step() {
    if (active_until_ == nullptr) {
        return 1;
    }
    const int64_t now = now_ns();
    active_until_->store(now + max_step, std::memory_order_relaxed);
    return static_cast<int32_t>(std::count_if(places.begin(), places.end(), [now](const auto& until) {
        return until.load(std::memory_order_relaxed) > now;
    }));
}

void ComputeShare::end_step() {
    if (active_until_ != nullptr) {
        active_until_->store(now_ns() + between_steps, std::memory_order_relaxed);
    }
}

}  // namespace tea
