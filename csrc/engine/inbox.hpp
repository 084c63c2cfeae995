#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "base/error.hpp"
#include "engine/task.hpp"
#include "planning/step_times.hpp"

namespace tea {

class EngineLoop;

struct EngineStats {
    int64_t n_requests = 0;  // submitted since load
    int64_t n_running = 0;
    int64_t n_waiting = 0;
    int64_t n_prompt_tokens = 0;  // computed; cached ones are not
    int64_t n_cached_tokens = 0;
    int64_t n_generated_tokens = 0;
    int64_t n_guessed_tokens = 0;  // by prompt lookup
    int64_t n_right_guesses = 0;
    int64_t n_cells = 0;          // of the KV cache as it is now
    int64_t n_cells_used = 0;     // by running requests
    int64_t n_cells_idle = 0;     // by finished ones, kept for reuse
    int64_t n_parked_tokens = 0;  // of finished ones, kept outside of the KV cache
    int64_t n_steps = 0;
    int64_t n_preemptions = 0;
    int64_t n_threads = 0;   // that compute now
    int64_t n_wake_ups = 0;  // of event loops
};

// State that the callers' threads and the engine thread share.
struct Inbox {
    std::mutex mutex;
    std::condition_variable filled;
    std::deque<std::unique_ptr<Task>> tasks;                // guarded by mutex
    std::deque<std::function<void(EngineLoop&)>> commands;  // run between steps; guarded by mutex
    std::optional<Error> failure;                           // why the engine is dead; guarded by mutex
    EngineStats stats;                                      // guarded by mutex
    StepTimes step_times;                                   // guarded by mutex
    std::atomic<bool> is_closing{false};
};

}  // namespace tea
