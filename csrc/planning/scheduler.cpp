#include "planning/scheduler.hpp"

#include <algorithm>

namespace tea::scheduler {

namespace {

int32_t n_missing(const SequenceState& state) {
    return state.n_known - state.n_computed;
}

// Tokens a prompt may be computed by in one step.
int32_t n_next(const SequenceState& state) {
    const int32_t n = state.n_pause > state.n_computed ? state.n_pause - state.n_computed : n_missing(state);
    return std::min(n, state.max_count);
}

}  // namespace

StepPlan plan_step(const std::vector<SequenceState>& running, const StepLimits& limits) {
    StepPlan plan;
    int32_t n_cells = limits.n_free_cells;
    int32_t n_budget = limits.n_batch;
    const auto n_generating = static_cast<int32_t>(std::count_if(
        running.begin(), running.end(), [](const SequenceState& state) { return n_missing(state) == 1; }));
    // Each that generates needs a cell. When all are prompts, one cell does: somebody moves.
    if (running.size() > 1 && n_cells < std::max(n_generating, 1)) {
        plan.must_preempt = true;
        return plan;
    }
    const auto add = [&](size_t i, int32_t count) {
        plan.items.push_back({i, running[i].n_computed, count, 0, count == n_missing(running[i])});
        n_budget -= count;
        n_cells -= count;
    };
    for (size_t i = 0; i < running.size(); ++i) {
        if (n_missing(running[i]) == 1 && running[i].max_count > 0 && n_budget > 0 && n_cells > 0) {
            add(i, 1);
        }
    }
    const size_t n_decodes = plan.items.size();
    int32_t n_chunk = n_decodes > 0 ? limits.n_prompt_chunk : limits.n_batch;
    for (size_t i = 0; i < running.size(); ++i) {
        const int32_t n_allowed = running[i].is_paced ? std::min(n_chunk, n_budget) : n_budget;
        const int32_t count = std::min({n_next(running[i]), n_allowed, n_cells});
        if (n_missing(running[i]) > 1 && count > 0) {
            add(i, count);
            n_chunk -= running[i].is_paced ? count : 0;
        }
    }
    for (size_t i = 0; i < n_decodes; ++i) {
        StepItem& item = plan.items[i];
        item.n_draft = std::max(0, std::min({running[item.running].n_draft, n_chunk, n_budget, n_cells}));
        n_chunk -= item.n_draft;
        n_budget -= item.n_draft;
        n_cells -= item.n_draft;
    }
    return plan;
}

bool may_start(const AdmissionState& state) {
    if (state.n_running == 0) {
        return true;
    }
    return state.n_free_cells >= state.n_to_compute + std::min(state.n_growth, growth_reserve);
}

}  // namespace tea::scheduler
