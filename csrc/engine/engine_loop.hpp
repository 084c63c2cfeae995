#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/engine_config.hpp"
#include "engine/inbox.hpp"
#include "engine/memory.hpp"
#include "planning/pace.hpp"
#include "planning/scheduler.hpp"

namespace tea {

// The engine thread: owns the llama_context and every running request, and never touches Python. A
// step reads as collect -> reap -> admit -> plan -> compute -> deliver -> announce.
class EngineLoop {
  public:
    EngineLoop(std::shared_ptr<const Model> model, const EngineConfig& config, std::shared_ptr<Inbox> inbox);

    // Returns when the inbox is closing or the engine is dead; every request has ended then.
    void run();

    // --- for commands, which run between steps ---

    // As in Memory.
    std::vector<SavedPast> save_pasts() { return memory_->save_pasts(); }
    int64_t load_pasts(const std::vector<SavedPast>& pasts);

  private:
    using TaskPtr = std::unique_ptr<Task>;
    struct Row {  // the first row of logits that an item of a step gives, one more for each guess
        const scheduler::StepItem* item;
        int32_t batch_index;
    };

    // engine_loop.cpp: the life of requests
    void make_memory();
    bool collect();
    void reap();
    bool must_end(Task& task);
    void queue(TaskPtr task);
    void end(TaskPtr& task);
    void erase_ended();
    void announce();
    void die(const Error& error);
    void publish_stats();
    bool should_abort() const;

    // admission.cpp: who starts, and in which cells
    void admit();
    bool is_being_computed(const Task& task, int32_t n_cached) const;
    int32_t branch_point(const Task& task, int32_t n_cached) const;
    bool may_start(const Task& task, const SequencePool::Match& match) const;
    scheduler::AdmissionState admission_state(const Task& task, const SequencePool::Match& match) const;
    bool preempt_for(const Task& task, const SequencePool::Match& match);
    void start(size_t waiting, const SequencePool::Match& match);
    void preempt(size_t running);
    int32_t n_promised_cells() const;

    // step.cpp: one step
    void step();
    scheduler::StepPlan plan();
    std::vector<scheduler::SequenceState> sequence_states();
    Decoder::Status compute(const scheduler::StepPlan& plan, std::vector<Row>& rows);
    void commit(const scheduler::StepPlan& plan);
    void deliver(const std::vector<Row>& rows);
    bool advance(Task& task, const Row& row);
    bool score(Task& task, const Row& row);
    void make_slot();
    void drop_cancelled(const scheduler::StepPlan& plan);
    void fail_step(const scheduler::StepPlan& plan);
    void begin_again();
    void fail_lone();

    std::shared_ptr<const Model> model_;
    EngineConfig config_;
    std::shared_ptr<Inbox> inbox_;
    std::unique_ptr<Memory> memory_;  // made by run()
    Pace pace_;
    std::vector<TaskPtr> waiting_;           // the most urgent first
    std::vector<TaskPtr> running_;           // the most urgent first; null: ended in this step
    std::vector<TaskPtr> ended_;             // announced after stats() show it
    std::vector<const Request*> in_flight_;  // of the step being computed
    WakeUps wake_ups_;
    EngineStats stats_;
    double step_ms_ = 0;       // of the last step; 0: none since the last publish_stats()
    bool is_crowded_ = false;  // the last step found no cells: nobody starts before one has
    int n_failed_steps_ = 0;   // in a row
    bool is_dead_ = false;
};

}  // namespace tea
