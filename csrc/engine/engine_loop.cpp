#include "engine/engine_loop.hpp"

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

namespace tea {

EngineLoop::EngineLoop(std::shared_ptr<const Model> model, const EngineConfig& config,
                       std::shared_ptr<Inbox> inbox)
    : model_(std::move(model)),
      config_(config),
      inbox_(std::move(inbox)),
      pool_(
          config.n_parallel, config.n_cells,
          [this](int32_t sequence, int32_t n_kept) { decoder_->keep(sequence, n_kept); },
          [this](int32_t sequence, int32_t n_held, int32_t n_kept) {
              return decoder_->can_resume(sequence, n_held, n_kept);
          }) {
    stats_.n_cells = config.n_cells;
}

void EngineLoop::run() {
    try {
        make_decoder();
        while (!is_dead_ && collect()) {
            reap();
            admit();
            step();
            publish_stats();
            announce();
        }
    } catch (const runtime::Aborted& abort) {
        // llama.cpp's objects are in an unknown state: they are leaked.
        (void)decoder_.release();
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

void EngineLoop::make_decoder() {
    decoder_ = std::make_unique<Decoder>(
        model_, config_, [](void* self) { return static_cast<const EngineLoop*>(self)->should_abort(); },
        this);
}

// Takes new tasks; sleeps while there is nothing to do. False: closing.
bool EngineLoop::collect() {
    std::unique_lock lock(inbox_->mutex);
    if (running_.empty() && waiting_.empty()) {
        inbox_->filled.wait(lock, [&] { return inbox_->is_closing || !inbox_->tasks.empty(); });
    }
    std::move(inbox_->tasks.begin(), inbox_->tasks.end(), std::back_inserter(waiting_));
    inbox_->tasks.clear();
    return !inbox_->is_closing;
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

// Starts waiting requests, first come first served, while there are sequences and cells for them.
void EngineLoop::admit() {
    while (!waiting_.empty() && pool_.has_room()) {
        Task& task = *waiting_.front();
        const int32_t n_attachable = pool_.n_attachable(task.tokens());
        scheduler::AdmissionState state{};
        state.n_running = static_cast<int32_t>(running_.size());
        // What it attaches to is idle now and will not be free then.
        state.n_free_cells = pool_.n_available_cells() - n_attachable;
        state.n_to_compute = task.n_known() - n_attachable;
        state.n_growth = task.n_growth();
        if (!scheduler::may_start(state)) {
            return;
        }
        const auto attachment = pool_.attach(task.tokens());
        if (!task.is_started()) {
            stats_.n_cached_tokens += attachment.n_cached;
        }
        task.start(attachment.sequence, attachment.n_cached);
        running_.push_back(std::move(waiting_.front()));
        waiting_.pop_front();
    }
}

void EngineLoop::step() {
    std::vector<scheduler::SequenceState> states;
    for (const auto& task : running_) {
        states.push_back({task->n_known(), task->n_computed});
    }
    const auto plan =
        scheduler::plan_step(states, {config_.n_batch, config_.n_prompt_chunk, pool_.n_available_cells()});
    for (const size_t running : plan.preempted) {
        preempt(running);
    }
    std::vector<Row> rows;
    if (!plan.items.empty()) {
        switch (compute(plan, rows)) {
            case Decoder::Status::ok:
                n_failed_steps_ = 0;
                commit(plan);
                deliver(rows);
                break;
            case Decoder::Status::aborted:
                drop_cancelled(plan);
                break;
            case Decoder::Status::no_slot:
                make_slot();
                break;
            case Decoder::Status::failed:
                fail_step(plan);
                break;
        }
    }
    erase_ended();
}

Decoder::Status EngineLoop::compute(const scheduler::StepPlan& plan, std::vector<Row>& rows) {
    int32_t n_tokens = 0;
    decoder_->clear_batch();
    in_flight_.clear();
    for (const auto& item : plan.items) {
        Task& task = *running_[item.sequence];
        for (int32_t i = 0; i < item.count; ++i) {
            const int32_t position = item.first + i;
            const bool wants_logits = item.wants_logits && i == item.count - 1;
            const int32_t index = decoder_->add(task.tokens()[static_cast<size_t>(position)], task.sequence,
                                                position, wants_logits);
            if (wants_logits) {
                rows.push_back({item.sequence, index});
            }
        }
        n_tokens += item.count;
        in_flight_.push_back(&task.request());
    }
    pool_.make_room(n_tokens);
    return decoder_->run();
}

void EngineLoop::commit(const scheduler::StepPlan& plan) {
    ++stats_.n_steps;
    for (const auto& item : plan.items) {
        Task& task = *running_[item.sequence];
        pool_.extend(task.sequence, task.tokens().data() + item.first, item.count);
        task.n_computed += item.count;
        const bool is_prompt = item.first < static_cast<int32_t>(task.request().options().prompt.size());
        stats_.n_prompt_tokens += is_prompt ? item.count : 0;
    }
}

void EngineLoop::deliver(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
        TaskPtr& task = running_[row.running];
        const int64_t n_before = task->n_generated();
        bool goes_on = false;
        try {
            goes_on = task->advance(*model_, decoder_->logits(row.batch_index));
        } catch (const Error& error) {
            task->fail(error);
        }
        stats_.n_generated_tokens += task->n_generated() - n_before;
        if (!goes_on) {
            end(task);
        }
    }
}

// Sends a running request back to the head of the queue. Its tokens stay as long as nobody needs
// their cells; what is gone by then is computed again.
void EngineLoop::preempt(size_t running) {
    TaskPtr& task = running_[running];
    pool_.release(task->sequence);
    task->sequence = -1;
    task->n_computed = 0;
    waiting_.push_front(std::move(task));
    ++stats_.n_preemptions;
}

// llama.cpp found no cells though the ledger has some: give it more room, by and by.
void EngineLoop::make_slot() {
    if (pool_.n_idle_cells() > 0) {
        pool_.make_room(config_.n_cells);
        return;
    }
    erase_ended();
    if (running_.size() > 1) {
        preempt(running_.size() - 1);
        return;
    }
    for (auto& task : running_) {
        task->fail(Error(ErrorKind::inference, "the KV cache has no room for this request"));
        pool_.drop(task->sequence);
        ended_.push_back(std::move(task));
    }
}

// The step was cut short because everyone in it was cancelled. What their sequences hold is not certain
// for every kind of memory: it is forgotten.
void EngineLoop::drop_cancelled(const scheduler::StepPlan& plan) {
    for (const auto& item : plan.items) {
        TaskPtr& task = running_[item.sequence];
        if (must_end(*task)) {
            pool_.drop(task->sequence);
            ended_.push_back(std::move(task));
        }
    }
}

// The step failed inside llama.cpp: its requests end, all others begin again with an empty cache.
void EngineLoop::fail_step(const scheduler::StepPlan& plan) {
    const Error error(ErrorKind::inference, "llama.cpp could not compute a step (out of memory?)");
    for (const auto& item : plan.items) {
        running_[item.sequence]->fail(error);
        ended_.push_back(std::move(running_[item.sequence]));
    }
    erase_ended();
    while (!running_.empty()) {
        preempt(running_.size() - 1);
        running_.pop_back();
    }
    pool_.clear();
    decoder_->clear_memory();
    if (++n_failed_steps_ > 1) {
        die(Error(ErrorKind::inference, "two steps in a row failed, load the model again"));
    }
}

// A running request is over: its sequence becomes idle.
void EngineLoop::end(TaskPtr& task) {
    pool_.release(task->sequence);
    ended_.push_back(std::move(task));
}

void EngineLoop::erase_ended() {
    running_.erase(std::remove(running_.begin(), running_.end(), nullptr), running_.end());
}

void EngineLoop::announce() {
    for (const auto& task : ended_) {
        task->announce();
    }
    ended_.clear();
}

// Ends every request and refuses new ones. The first reason stays.
void EngineLoop::die(const Error& error) {
    is_dead_ = true;
    erase_ended();
    std::deque<TaskPtr> unfinished = std::move(waiting_);
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
    stats_.n_cells_idle = pool_.n_idle_cells();
    stats_.n_cells_used = pool_.n_used_cells() - stats_.n_cells_idle;
    const std::lock_guard lock(inbox_->mutex);
    stats_.n_requests = inbox_->stats.n_requests;              // counted by those who submit
    stats_.n_waiting = static_cast<int64_t>(waiting_.size());  // stats() adds those in the inbox
    inbox_->stats = stats_;
}

// Polled by llama.cpp after every node of a graph, on this thread.
bool EngineLoop::should_abort() const {
    return inbox_->is_closing ||
           (!in_flight_.empty() && std::all_of(in_flight_.begin(), in_flight_.end(),
                                               [](const Request* request) { return request->wants_end(); }));
}

}  // namespace tea
