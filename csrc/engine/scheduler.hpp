#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

// What one step computes, decided from integers alone: no llama.cpp, no clocks, no locks.
//
// There is no prefill phase and no decode phase. Each running request has tokens that are known and
// tokens that are computed; a step brings the second number closer to the first, within a budget.

namespace tea::scheduler {

struct SequenceState {
    int32_t n_known;     // prompt and generated tokens
    int32_t n_computed;  // of them, in the KV cache; less than n_known
};

struct StepLimits {
    int32_t n_batch;         // tokens a step may compute
    int32_t n_prompt_chunk;  // prompt tokens a step may compute while others generate: keeps steps short
    int32_t n_free_cells;    // KV cells that are free or can be freed
};

// Tokens [first, first + count) of a sequence.
struct StepItem {
    size_t sequence;  // index into the states
    int32_t first;
    int32_t count;
    bool wants_logits;  // the last of them is the last known one: a new token follows
};

struct StepPlan {
    std::vector<StepItem> items;
    std::vector<size_t> preempted;  // give up their cells and wait: the youngest first
};

// `running` is ordered by age, oldest first. Sequences with one token left (those that generate) come
// first, one token each; then prompts, oldest first. When cells do not suffice for at least one token
// of every generating sequence, the youngest running ones are preempted until they do. With at least
// one sequence running, the plan is never empty unless a lone sequence has no cell left.
StepPlan plan_step(const std::vector<SequenceState>& running, const StepLimits& limits);

// Whether a waiting request may start beside `n_running` others. Besides its prompt it needs cells to
// grow into, so that it is not preempted at once.
struct AdmissionState {
    int32_t n_running;
    int32_t n_free_cells;  // as in StepLimits, cells it would attach to excluded
    int32_t n_to_compute;  // known tokens less those it attaches to
    int32_t n_growth;      // tokens it may still generate
};
bool may_start(const AdmissionState& state);

}  // namespace tea::scheduler
