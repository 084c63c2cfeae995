#include <algorithm>

#include "engine/engine_loop.hpp"

namespace tea {

namespace {

constexpr size_t max_looked_at = 64;       // waiting requests, each step
constexpr int32_t worth_waiting_for = 16;  // tokens: sharing fewer does not pay for a step's delay
constexpr int32_t worth_a_checkpoint = 32;

}  // namespace

// Starts waiting requests, the most urgent first, while there are sequences and cells for them.
void EngineLoop::admit() {
    if (is_crowded_ && !running_.empty()) {
        return;
    }
    is_crowded_ = false;
    if (running_.empty()) {
        memory_->retry_growth();
    }
    for (size_t i = 0; i < std::min(waiting_.size(), max_looked_at);) {
        const Task& task = *waiting_[i];
        // A text that is scored needs the logits of every token: none of it may be skipped.
        const auto match = task.is_scoring() ? SequencePool::Match{} : memory_->pool().find(task.tokens());
        if (is_being_computed(task, match.n_cached) &&
            is_being_computed(task, memory_->n_parked_in_common(task.tokens()))) {
            ++i;
        } else if (may_start(task, match)) {
            start(i, match);
        } else if (!preempt_for(task, match)) {
            return;  // the less urgent do not overtake it
        }
    }
}

// Whether a running request is about to compute more of this one's prompt than anyone holds now. It then
// waits, and is asked again before each step: if the other ends early, it finds what is there by then. It
// does not wait for a less urgent one, which may wait itself.
bool EngineLoop::is_being_computed(const Task& task, int32_t n_cached) const {
    return !task.is_scoring() && std::any_of(running_.begin(), running_.end(), [&](const TaskPtr& other) {
        if (other->urgency() < task.urgency()) {
            return false;
        }
        int32_t n = common_prefix(other->tokens(), task.tokens(), task.n_known() - 1);
        if (!memory_->decoder().keeps_everything()) {
            n = std::min(n, other->n_pause);  // only a checkpoint can be shared for certain
            n = n > memory_->decoder().n_shareable() ? 0 : n;
        }
        return n > other->n_computed && n >= n_cached + worth_waiting_for;
    });
}

// Where memory keeps only the end of a sequence, others can share a prompt's beginning only if it is kept
// at the very place where they part. That place is known when one of them is: it computes up to there and
// leaves a checkpoint.
int32_t EngineLoop::branch_point(const Task& task, int32_t n_cached) const {
    if (memory_->decoder().keeps_everything()) {
        return 0;
    }
    int32_t n = memory_->pool().n_common(task.tokens());
    const auto compare = [&](const TaskPtr& other) {
        if (other.get() != &task) {
            n = std::max(n, common_prefix(other->tokens(), task.tokens(), task.n_known() - 1));
        }
    };
    std::for_each(running_.begin(), running_.end(), compare);
    const auto n_looked_at = static_cast<std::ptrdiff_t>(std::min(waiting_.size(), max_looked_at));
    std::for_each(waiting_.begin(), waiting_.begin() + n_looked_at, compare);
    return n >= n_cached + worth_a_checkpoint && n <= memory_->decoder().n_shareable() ? n : 0;
}

bool EngineLoop::may_start(const Task& task, const SequencePool::Match& match) const {
    if (running_.size() >= static_cast<size_t>(config_.n_parallel) || !memory_->pool().has_room()) {
        return false;
    }
    return scheduler::may_start(admission_state(task, match));
}

scheduler::AdmissionState EngineLoop::admission_state(const Task& task,
                                                      const SequencePool::Match& match) const {
    scheduler::AdmissionState state{};
    state.n_running = static_cast<int32_t>(running_.size());
    state.n_free_cells =
        memory_->n_obtainable_cells() - memory_->pool().n_pinned_cells() - match.n_idle - n_promised_cells();
    state.n_to_compute = task.n_known() - match.n_cached;
    state.n_growth = task.n_growth();
    return state;
}

// Sends the least urgent running request back to make room for one of higher priority, if that can help.
bool EngineLoop::preempt_for(const Task& task, const SequencePool::Match& match) {
    scheduler::AdmissionState without_others = admission_state(task, match);
    size_t n_others = 0;
    for (const auto& other : running_) {
        if (other->priority() < task.priority() && other->urgency() < task.urgency()) {
            without_others.n_free_cells += other->n_known();
            --without_others.n_running;
            ++n_others;
        }
    }
    if (n_others == 0 || !scheduler::may_start(without_others)) {
        return false;
    }
    preempt(running_.size() - 1);
    return true;
}

void EngineLoop::start(size_t waiting, const SequencePool::Match& match) {
    TaskPtr task = std::move(waiting_[waiting]);
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(waiting));
    const int32_t n_pause = branch_point(*task, match.n_cached);
    const int32_t sequence =
        memory_->pool().attach(task->is_scoring() ? match : memory_->fetch(task->tokens()));
    memory_->park();
    const auto n_cached = static_cast<int32_t>(memory_->pool().tokens(sequence).size());
    stats_.n_cached_tokens += task->is_started() ? 0 : n_cached;
    task->start(sequence, n_cached);
    task->n_pause = n_pause;
    const auto place = std::find_if(running_.begin(), running_.end(),
                                    [&](const TaskPtr& other) { return other->urgency() < task->urgency(); });
    running_.insert(place, std::move(task));
}

// Sends a running request back to the queue. Its tokens stay as long as nobody needs their cells; what is
// gone when it starts again is computed again.
void EngineLoop::preempt(size_t running) {
    TaskPtr task = std::move(running_[running]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(running));
    memory_->pool().release(task->sequence);
    task->stop();
    queue(std::move(task));
    ++stats_.n_preemptions;
}

// Cells that running requests need for tokens they know already.
int32_t EngineLoop::n_promised_cells() const {
    int32_t n = 0;
    for (const auto& task : running_) {
        n += task->n_missing();
    }
    return n;
}

}  // namespace tea
