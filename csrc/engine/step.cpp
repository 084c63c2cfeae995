#include <algorithm>
#include <chrono>
#include <string>

#include "base/error.hpp"
#include "engine/engine_loop.hpp"
#include "llama/abort_guard.hpp"

namespace tea {

void EngineLoop::step() {
    if (running_.empty()) {
        return;
    }
    const auto started_at = Request::Clock::now();
    memory_->grow_for(memory_->pool().n_pinned_cells() + n_promised_cells() +
                      scheduler::growth_reserve * static_cast<int32_t>(running_.size()));
    const auto planned = plan();
    if (planned.items.empty()) {
        fail_lone();
        return;
    }
    std::vector<Row> rows;
    switch (compute(planned, rows)) {
        case Decoder::Status::ok:
            n_failed_steps_ = 0;
            is_crowded_ = false;
            commit(planned);
            deliver(rows);
            break;
        case Decoder::Status::aborted:
            drop_cancelled(planned);
            break;
        case Decoder::Status::no_slot:
            make_slot();
            break;
        case Decoder::Status::failed:
            fail_step(planned);
            break;
    }
    erase_ended();
    step_ms_ = std::chrono::duration<double, std::milli>(Request::Clock::now() - started_at).count();
    if (config_.options.audits && !is_dead_ && !inbox_->is_closing) {
        memory_->audit();
    }
}

scheduler::StepPlan EngineLoop::plan() {
    for (;;) {
        const auto states = sequence_states();
        const auto n_generating = static_cast<int32_t>(std::count_if(
            running_.begin(), running_.end(), [](const TaskPtr& task) { return task->n_missing() == 1; }));
        const bool has_prompts = n_generating < static_cast<int32_t>(running_.size());
        const int32_t n_chunk =
            has_prompts ? std::min(pace_.prompt_chunk(n_generating), config_.n_step) : config_.n_step;
        auto planned =
            scheduler::plan_step(states, {config_.n_step, n_chunk, memory_->pool().n_available_cells()});
        if (!planned.must_preempt) {
            return planned;
        }
        preempt(running_.size() - 1);
    }
}

// The running requests as the scheduler sees them. A prompt that arrived before any running request produced
// its first token is not paced. One that was longer than a step is, up to its end: streams may have begun
// since it arrived. Texts that are scored need a row of logits for each token: they share the rows of a step
// that are left over from the other requests.
std::vector<scheduler::SequenceState> EngineLoop::sequence_states() {
    auto first_token_at = Request::Clock::time_point::max();
    for (const auto& task : running_) {
        first_token_at = std::min(first_token_at, task->first_token_at());
    }
    const int32_t n_own_rows = 1 + config_.options.prompt_lookup;
    int32_t n_spare_rows = std::max(0, config_.n_rows - n_own_rows * static_cast<int32_t>(running_.size()));
    std::vector<scheduler::SequenceState> states;
    for (const auto& task : running_) {
        scheduler::SequenceState state{task->n_known(), task->n_computed};
        state.n_pause = task->n_pause;
        state.is_paced =
            task->request().submitted_at() > first_token_at || task->n_missing_at_start() > config_.n_batch;
        if (task->is_scoring()) {
            state.max_count = std::min(task->n_missing(), n_own_rows + n_spare_rows);
            n_spare_rows -= std::max(0, state.max_count - n_own_rows);
        } else if (config_.options.prompt_lookup > 0) {
            task->guess();
            state.n_draft = static_cast<int32_t>(task->draft.size());
        }
        states.push_back(state);
    }
    return states;
}

Decoder::Status EngineLoop::compute(const scheduler::StepPlan& plan, std::vector<Row>& rows) {
    int32_t n_tokens = 0;
    int32_t n_decodes = 0;
    memory_->decoder().clear_batch();
    in_flight_.clear();
    for (const auto& item : plan.items) {
        Task& task = *running_[item.running];
        task.draft.resize(static_cast<size_t>(item.n_draft));
        n_decodes += task.n_missing() == 1 ? 1 : 0;
        const int32_t n_all = item.count + item.n_draft;
        for (int32_t i = 0; i < n_all; ++i) {
            const bool is_guess = i >= item.count;
            const int32_t position = item.first + i;
            const int32_t token = is_guess ? task.draft[static_cast<size_t>(i - item.count)]
                                           : task.tokens()[static_cast<size_t>(position)];
            const bool wants_logits = task.is_scoring() || (item.wants_logits && i >= item.count - 1);
            const int32_t index = memory_->decoder().add(token, task.sequence, position, wants_logits);
            if (wants_logits && (task.is_scoring() ? i == 0 : !is_guess)) {
                rows.push_back({&item, index});
            }
        }
        n_tokens += n_all;
        in_flight_.push_back(&task.request());
    }
    memory_->make_room(n_tokens);
    const auto started_at = Request::Clock::now();
    const auto status = memory_->decoder().run();
    stats_.n_threads = memory_->decoder().n_threads();
    const std::chrono::duration<double> took = Request::Clock::now() - started_at;
    if (status == Decoder::Status::ok) {
        pace_.observe(n_decodes, n_tokens - n_decodes, took.count());
    }
    return status;
}

void EngineLoop::commit(const scheduler::StepPlan& plan) {
    ++stats_.n_steps;
    for (const auto& item : plan.items) {
        Task& task = *running_[item.running];
        const bool is_prompt = item.first < static_cast<int32_t>(task.request().options().prompt.size());
        stats_.n_prompt_tokens += is_prompt ? item.count : 0;
        stats_.n_guessed_tokens += item.n_draft;
        memory_->pool().extend(task.sequence, task.tokens().data() + item.first, item.count);
        memory_->pool().extend(task.sequence, task.draft.data(), item.n_draft);
        task.n_computed += item.count;
        if (task.n_computed == task.n_pause) {
            memory_->pool().checkpoint(task.sequence);
            task.n_pause = 0;
        }
    }
}

void EngineLoop::deliver(const std::vector<Row>& rows) {
    bool is_memory_finite = true;
    for (const Row& row : rows) {
        TaskPtr& task = running_[row.item->running];
        bool goes_on = false;
        try {
            goes_on = task->is_scoring() ? score(*task, row) : advance(*task, row);
        } catch (const runtime::Aborted&) {  // the Decoder's: not the request's alone
            throw;
        } catch (const NotFinite& error) {
            task->fail(error);
            is_memory_finite = false;
        } catch (const Error& error) {
            task->fail(error);
        }
        if (!goes_on) {
            end(task);
        }
    }
    if (!is_memory_finite) {  // a NaN that attention multiplies by zero reaches every request
        erase_ended();
        begin_again();
    }
}

// Samples from the rows that a step gave for a request. Returns whether the request continues.
bool EngineLoop::advance(Task& task, const Row& row) {
    const int64_t n_before = task.n_generated();
    bool goes_on = true;
    int32_t n_right = 0;  // guesses
    for (int32_t i = 0; goes_on && i <= n_right; ++i) {
        goes_on = task.advance(*model_, memory_->decoder().logits(row.batch_index + i), wake_ups_);
        if (goes_on && i < row.item->n_draft && task.tokens().back() == task.draft[static_cast<size_t>(i)]) {
            ++n_right;  // its row is that of a true continuation
        }
    }
    if (row.item->n_draft > 0) {
        task.n_computed += n_right;
        memory_->pool().truncate(task.sequence, task.n_computed);
        task.learn(row.item->n_draft, n_right);
        stats_.n_right_guesses += n_right;
    }
    stats_.n_generated_tokens += task.n_generated() - n_before;
    return goes_on;
}

bool EngineLoop::score(Task& task, const Row& row) {
    bool goes_on = true;
    for (int32_t i = 0; i < row.item->count; ++i) {
        goes_on = task.score(row.item->first + i + 1, memory_->decoder().logits(row.batch_index + i),
                             model_->n_vocab());
    }
    return goes_on;
}

// llama.cpp found no cells although the ledger has some: gives it more room, one measure at a time.
void EngineLoop::make_slot() {
    is_crowded_ = true;
    if (memory_->pool().n_idle_cells() > 0) {
        memory_->pool().make_room(memory_->pool().n_cells());
    } else if (running_.size() > 1) {
        preempt(running_.size() - 1);
        memory_->pool().make_room(memory_->pool().n_cells());  // of what that left behind
    } else {
        fail_lone();
    }
}

// The last running request finds no cell, though nobody else has one.
void EngineLoop::fail_lone() {
    for (auto& task : running_) {
        task->fail(Error(ErrorKind::inference, "there is no memory for a KV cache of more than " +
                                                   std::to_string(memory_->pool().n_cells()) + " tokens"));
        memory_->pool().drop(task->sequence);
        ended_.push_back(std::move(task));
    }
    erase_ended();
}

// The step was cut short because everyone in it was cancelled. Nothing of it is in the KV cache; what a
// recurrent state has become is not certain.
void EngineLoop::drop_cancelled(const scheduler::StepPlan& plan) {
    for (const auto& item : plan.items) {
        TaskPtr& task = running_[item.running];
        if (!must_end(*task)) {
            continue;  // closing
        }
        if (memory_->decoder().keeps_everything()) {
            memory_->pool().release(task->sequence);
        } else {
            memory_->pool().drop(task->sequence);
            memory_->decoder().trim(task->sequence, 0);  // also of what the pool never heard of
        }
        ended_.push_back(std::move(task));
    }
}

// The step failed inside llama.cpp: its requests end, all others begin again with an empty cache.
void EngineLoop::fail_step(const scheduler::StepPlan& plan) {
    const Error error(ErrorKind::inference, "llama.cpp could not compute a step (out of memory?)");
    for (const auto& item : plan.items) {
        running_[item.running]->fail(error);
        ended_.push_back(std::move(running_[item.running]));
    }
    erase_ended();
    begin_again();
    if (++n_failed_steps_ > 1) {
        die(Error(ErrorKind::inference, "two steps in a row failed, load the model again"));
    }
}

// Empties the memory, in which nothing can be relied on. Requests that run are computed again.
void EngineLoop::begin_again() {
    while (!running_.empty()) {
        preempt(running_.size() - 1);
    }
    memory_->pool().clear();
    memory_->decoder().clear_memory();
}

}  // namespace tea
