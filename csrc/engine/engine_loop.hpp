#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "engine/decoder.hpp"
#include "engine/inbox.hpp"
#include "engine/scheduler.hpp"
#include "engine/sequence_pool.hpp"

namespace tea {

// The engine thread: owns the llama_context and every running request, and never touches Python. A
// step reads as collect -> reap -> admit -> plan -> compute -> deliver -> announce.
class EngineLoop {
  public:
    EngineLoop(std::shared_ptr<const Model> model, const EngineConfig& config, std::shared_ptr<Inbox> inbox);

    // Returns when the inbox is closing or the engine is dead; every request has ended then.
    void run();

  private:
    using TaskPtr = std::unique_ptr<Task>;
    struct Row {  // a row of logits that a step gives
        size_t running;
        int32_t batch_index;
    };

    void make_decoder();
    bool collect();
    void reap();
    bool must_end(Task& task);
    void admit();
    void step();
    Decoder::Status compute(const scheduler::StepPlan& plan, std::vector<Row>& rows);
    void commit(const scheduler::StepPlan& plan);
    void deliver(const std::vector<Row>& rows);
    void preempt(size_t running);
    void make_slot();
    void drop_cancelled(const scheduler::StepPlan& plan);
    void fail_step(const scheduler::StepPlan& plan);
    void end(TaskPtr& task);
    void erase_ended();
    void announce();
    void die(const Error& error);
    void publish_stats();
    bool should_abort() const;

    std::shared_ptr<const Model> model_;
    EngineConfig config_;
    std::shared_ptr<Inbox> inbox_;
    std::unique_ptr<Decoder> decoder_;
    SequencePool pool_;
    std::deque<TaskPtr> waiting_;            // next first
    std::vector<TaskPtr> running_;           // oldest first; null: ended in this step
    std::vector<TaskPtr> ended_;             // their requests hear of it when stats() already show it
    std::vector<const Request*> in_flight_;  // of the step being computed
    EngineStats stats_;
    int n_failed_steps_ = 0;  // in a row
    bool is_dead_ = false;
};

}  // namespace tea
