#include "engine/engine_loop.hpp"

#include "base/error.hpp"
#include "llama/abort_guard.hpp"
#include "llama/log.hpp"

#include <algorithm>
#include <deque>
#include <exception>
#include <functional>
#include <string>
#include <utility>

namespace tea {

EngineLoop::EngineLoop(std::shared_ptr<const Model> model, const EngineConfig& config,
                       std::shared_ptr<Inbox> inbox)
    : model_(std::move(model)),
      config_(config),
      inbox_(std::move(inbox)),
      pace_(config.options.stream_slowdown, config.n_parallel, config.n_batch) {
    stats_.n_cells = config.n_cells_at_start;
    stats_.n_threads = config.n_threads;
}

void EngineLoop::run() {
    be_ready_to_throw();
    try {
        make_memory();
        while (!is_dead_ && collect()) {
            reap();
            admit();
            step();
            publish_stats();
            announce();
        }
    } catch (const runtime::Aborted& abort) {
        if (memory_) {
            memory_->abandon();
        }
        die(Error(ErrorKind::inference,
                  std::string("llama.cpp gave up, load the model again: ") + abort.what()));
    } catch (const Error& error) {
        die(error);
    } catch (const std::exception& error) {
        die(Error(ErrorKind::inference,
                  std::string("the engine failed, load the model again: ") + error.what()));
    }
    die(Error(ErrorKind::engine_closed, "the model was closed"));
}

void EngineLoop::make_memory() {
    memory_ = std::make_unique<Memory>(
        model_, config_, [](void* self) { return static_cast<const EngineLoop*>(self)->should_abort(); },
        this);
}

// Takes new tasks, and runs commands; sleeps while there is nothing to do. False: closing.
bool EngineLoop::collect() {
    std::deque<std::function<void(EngineLoop&)>> commands;
    std::deque<TaskPtr> tasks;
    {
        std::unique_lock lock(inbox_->mutex);
        if (running_.empty() && waiting_.empty()) {
            inbox_->filled.wait(lock, [&] {
                return inbox_->is_closing || !inbox_->tasks.empty() || !inbox_->commands.empty();
            });
        }
        tasks.swap(inbox_->tasks);
        commands.swap(inbox_->commands);
    }
    for (auto& task : tasks) {
        queue(std::move(task));
    }
    for (const auto& command : commands) {
        command(*this);
    }
    return !inbox_->is_closing;
}

void EngineLoop::queue(TaskPtr task) {
    const auto place =
        std::upper_bound(waiting_.begin(), waiting_.end(), task->urgency(),
                         [](double urgency, const TaskPtr& other) { return other->urgency() < urgency; });
    waiting_.insert(place, std::move(task));
}

// Ends requests that were cancelled or ran out of time.
void EngineLoop::reap() {
    for (auto& task : waiting_) {
        if (must_end(*task)) {
            ended_.push_back(std::move(task));
        }
    }
    waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), nullptr), waiting_.end());
    for (auto& task : running_) {
        if (must_end(*task)) {
            end(task);
        }
    }
    erase_ended();
}

bool EngineLoop::must_end(Task& task) {
    if (task.request().is_cancelled()) {
        task.fail(Error(ErrorKind::cancelled, "the request was cancelled"));
        return true;
    }
    if (task.request().is_expired()) {
        task.fail(Error(ErrorKind::timeout,
                        "the request ran out of time after " + std::to_string(task.n_generated()) +
                            " generated tokens (" +
                            (task.is_started() ? "it was running" : "it had not started") + ")"));
        return true;
    }
    return false;
}

// A running request is over: its sequence becomes idle.
void EngineLoop::end(TaskPtr& task) {
    memory_->pool().release(task->sequence);
    ended_.push_back(std::move(task));
}

void EngineLoop::erase_ended() {
    running_.erase(std::remove(running_.begin(), running_.end(), nullptr), running_.end());
}

void EngineLoop::announce() {
    for (const auto& task : ended_) {
        task->announce(wake_ups_);
    }
    ended_.clear();
    {
        const std::lock_guard lock(inbox_->mutex);
        inbox_->stats.n_wake_ups += wake_ups_.n_pending();
    }
    wake_ups_.send();
}

// Ends every request and refuses new ones. The first reason stays.
void EngineLoop::die(const Error& error) {
    is_dead_ = true;
    erase_ended();
    std::vector<TaskPtr> unfinished = std::move(waiting_);
    std::move(running_.begin(), running_.end(), std::back_inserter(unfinished));
    waiting_.clear();
    running_.clear();
    Error reason = error;
    {
        const std::lock_guard lock(inbox_->mutex);
        if (!inbox_->failure) {
            inbox_->failure = error;
        }
        reason = *inbox_->failure;
        std::move(inbox_->tasks.begin(), inbox_->tasks.end(), std::back_inserter(unfinished));
        inbox_->tasks.clear();
        inbox_->commands.clear();  // their futures report a broken promise
    }
    for (auto& task : unfinished) {
        task->fail(reason);
        ended_.push_back(std::move(task));
    }
    publish_stats();
    announce();
}

void EngineLoop::publish_stats() {
    stats_.n_running = static_cast<int64_t>(running_.size());
    if (memory_) {
        stats_.n_cells = memory_->pool().n_cells();
        stats_.n_cells_idle = memory_->pool().n_idle_cells();
        stats_.n_cells_used = memory_->pool().n_pinned_cells();
        stats_.n_parked_tokens = memory_->n_parked_tokens();
    }
    const std::lock_guard lock(inbox_->mutex);
    stats_.n_requests = inbox_->stats.n_requests;              // counted by those who submit
    stats_.n_wake_ups = inbox_->stats.n_wake_ups;              // counted by announce()
    stats_.n_waiting = static_cast<int64_t>(waiting_.size());  // stats() adds those in the inbox
    inbox_->stats = stats_;
    if (step_ms_ > 0) {
        inbox_->step_times.add(step_ms_);
        step_ms_ = 0;
    }
}

int64_t EngineLoop::load_pasts(const std::vector<SavedPast>& pasts) {
    const auto n_to_run = config_.n_parallel - static_cast<int32_t>(running_.size());
    const int64_t n_loaded = memory_->load_pasts(pasts, n_to_run);
    publish_stats();  // before the caller gets the result
    return n_loaded;
}

// Polled by llama.cpp after every node of a graph, on this thread.
bool EngineLoop::should_abort() const {
    // A recurrent step moves the states of other sequences, too: it is not left half done.
    const bool may_end = model_->memory_class() != MemoryClass::recurrent && !in_flight_.empty();
    const bool should = inbox_->is_closing ||
                        (may_end && std::all_of(in_flight_.begin(), in_flight_.end(),
                                                [](const Request* request) { return request->wants_end(); }));
    runtime::expect_errors(should);  // llama.cpp reports it as a failure
    return should;
}

}  // namespace tea
