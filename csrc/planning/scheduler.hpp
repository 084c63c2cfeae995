#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

// Plans one step from integers alone: no llama.cpp, no clocks, no locks.
//
// There is no prefill phase and no decode phase. Each running request has tokens that are known and
// tokens that are computed; a step brings the second number closer to the first, within a budget.

namespace tea::scheduler {

struct SequenceState {
    int32_t n_known;      // prompt and generated tokens
    int32_t n_computed;   // of them, in the KV cache; less than n_known
    int32_t n_draft = 0;  // guessed tokens after the known ones, to be computed with the last of those
    int32_t n_pause = 0;  // a step must end here, once; 0: nowhere
    int32_t max_count = std::numeric_limits<int32_t>::max();  // tokens of it that a step may compute
    bool is_paced = true;  // its prompt came after others had begun to generate: they are not held up by it
};

struct StepLimits {
    int32_t n_batch;         // tokens a step may compute
    int32_t n_prompt_chunk;  // tokens of paced prompts a step may compute while others generate
    int32_t n_free_cells;    // KV cells that are free or can be freed
};

// Tokens [first, first + count) of a sequence, then n_draft guessed ones.
struct StepItem {
    size_t running;  // index into the states, and so into the running requests
    int32_t first;
    int32_t count;
    int32_t n_draft;
    bool wants_logits;  // the last of `count` is the last known one: a new token follows
};

struct StepPlan {
    std::vector<StepItem> items;
    bool must_preempt = false;  // the cells do not suffice: the last one must go, and a new plan be made
};

// `running` is ordered, the most urgent first. Sequences with one token left (those that generate) come
// first, one token each; then prompts, in their order; drafts take what is left of the chunk. With at least
// one sequence running, the plan has items or says must_preempt, unless a lone sequence has no cell left.
StepPlan plan_step(const std::vector<SequenceState>& running, const StepLimits& limits);

// Whether a waiting request may start beside `n_running` others. Besides its prompt it needs cells to
// grow into, so that it is not preempted at once.
struct AdmissionState {
    int32_t n_running;
    int32_t n_free_cells;  // as in StepLimits, less those it would pin and those promised to the others
    int32_t n_to_compute;  // known tokens less those it attaches to
    int32_t n_growth;      // tokens it may still generate
};
bool may_start(const AdmissionState& state);

// Cells that one running request is given room to grow by.
constexpr int32_t growth_reserve = 64;

}  // namespace tea::scheduler
