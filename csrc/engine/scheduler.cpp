#include "engine/scheduler.hpp"

#include <algorithm>

namespace tea::scheduler {

namespace {

constexpr int32_t growth_reserve = 64;

int32_t n_missing(const SequenceState& state) {
    return state.n_known - state.n_computed;
}

}  // namespace

StepPlan plan_step(const std::vector<SequenceState>& running, const StepLimits& limits) {
    StepPlan plan;
    int32_t n_cells = limits.n_free_cells;
    size_t n_kept = running.size();
    int32_t n_generating = 0;
    for (const auto& state : running) {
        n_generating += n_missing(state) == 1 ? 1 : 0;
    }
    // The youngest give way until each generating sequence finds its cell. Somebody must be able to
    // move: when all are prompts, one cell does.
    while (n_kept > 1 && n_cells < std::max(n_generating, 1)) {
        const SequenceState& youngest = running[--n_kept];
        plan.preempted.push_back(n_kept);
        n_cells += youngest.n_computed;
        n_generating -= n_missing(youngest) == 1 ? 1 : 0;
    }

    int32_t n_budget = limits.n_batch;
    const auto add = [&](size_t i, int32_t count) {
        plan.items.push_back({i, running[i].n_computed, count, count == n_missing(running[i])});
        n_budget -= count;
        n_cells -= count;
    };
    for (size_t i = 0; i < n_kept; ++i) {
        if (n_missing(running[i]) == 1 && n_budget > 0 && n_cells > 0) {
            add(i, 1);
        }
    }
    if (!plan.items.empty()) {
        n_budget = std::min(n_budget, limits.n_prompt_chunk);
    }
    for (size_t i = 0; i < n_kept; ++i) {
        const int32_t count = std::min({n_missing(running[i]), n_budget, n_cells});
        if (n_missing(running[i]) > 1 && count > 0) {
            add(i, count);
        }
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
