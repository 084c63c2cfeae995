#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "engine/scheduler.hpp"
#include "tests/check.hpp"

using tea::scheduler::AdmissionState;
using tea::scheduler::may_start;
using tea::scheduler::plan_step;
using tea::scheduler::SequenceState;
using tea::scheduler::StepItem;
using tea::scheduler::StepLimits;
using tea::scheduler::StepPlan;

namespace {

constexpr StepLimits roomy{512, 256, 100000};

int32_t n_planned(const StepPlan& plan) {
    return std::accumulate(plan.items.begin(), plan.items.end(), 0,
                           [](int32_t sum, const StepItem& item) { return sum + item.count; });
}

const StepItem* item_of(const StepPlan& plan, size_t sequence) {
    for (const auto& item : plan.items) {
        if (item.sequence == sequence) {
            return &item;
        }
    }
    return nullptr;
}

}  // namespace

TEST_CASE("nothing runs: nothing is planned") {
    const auto plan = plan_step({}, roomy);
    CHECK(plan.items.empty());
    CHECK(plan.preempted.empty());
}

TEST_CASE("a short prompt is computed at once and asks for logits") {
    const auto plan = plan_step({{91, 0}}, roomy);
    CHECK(plan.items.size() == 1);
    CHECK(plan.items[0].first == 0);
    CHECK(plan.items[0].count == 91);
    CHECK(plan.items[0].wants_logits);
}

TEST_CASE("a long prompt goes in chunks of the batch, logits with the last") {
    int32_t n_computed = 0;
    std::vector<int32_t> counts;
    while (n_computed < 1200) {
        const auto plan = plan_step({{1200, n_computed}}, roomy);
        CHECK(plan.items.size() == 1);
        CHECK(plan.items[0].first == n_computed);
        CHECK(plan.items[0].wants_logits == (n_computed + plan.items[0].count == 1200));
        counts.push_back(plan.items[0].count);
        n_computed += plan.items[0].count;
    }
    CHECK((counts == std::vector<int32_t>{512, 512, 176}));
}

TEST_CASE("those that generate come first and get one token each") {
    const auto plan = plan_step({{1000, 0}, {10, 9}, {20, 19}}, roomy);
    CHECK(plan.items.size() == 3);
    CHECK(plan.items[0].sequence == 1);
    CHECK(plan.items[1].sequence == 2);
    CHECK(plan.items[0].count == 1);
    CHECK(plan.items[0].wants_logits);
    CHECK(plan.items[2].sequence == 0);
}

TEST_CASE("beside those that generate, prompts share one chunk, oldest first") {
    const auto plan = plan_step({{10, 9}, {200, 0}, {200, 0}}, roomy);
    CHECK(item_of(plan, 1)->count == 200);
    CHECK(item_of(plan, 2)->count == 56);
    CHECK(!item_of(plan, 2)->wants_logits);
}

TEST_CASE("short prompts are packed into one step") {
    const auto plan = plan_step({{91, 0}, {91, 0}, {91, 0}, {91, 0}}, roomy);
    CHECK(plan.items.size() == 4);
    CHECK(n_planned(plan) == 364);
}

TEST_CASE("a step never holds more tokens than the batch") {
    std::vector<SequenceState> running(600, {5, 4});
    const auto plan = plan_step(running, {512, 256, 100000});
    CHECK(n_planned(plan) == 512);
}

TEST_CASE("no cells left: the youngest gives way, the oldest goes on") {
    const auto plan = plan_step({{50, 49}, {50, 49}, {50, 49}}, {512, 256, 2});
    CHECK((plan.preempted == std::vector<size_t>{2}));
    CHECK(item_of(plan, 0) != nullptr);
    CHECK(item_of(plan, 1) != nullptr);
    CHECK(item_of(plan, 2) == nullptr);
}

TEST_CASE("only prompts and no cells: one of them must be able to move") {
    const auto plan = plan_step({{500, 100}, {500, 100}}, {512, 256, 0});
    CHECK((plan.preempted == std::vector<size_t>{1}));
    CHECK(n_planned(plan) == 100);
    CHECK(plan.items[0].sequence == 0);
}

TEST_CASE("a lone sequence is never preempted") {
    const auto plan = plan_step({{50, 49}}, {512, 256, 0});
    CHECK(plan.preempted.empty());
    CHECK(plan.items.empty());
}

TEST_CASE("a prompt takes what cells there are") {
    const auto plan = plan_step({{400, 0}}, {512, 256, 100});
    CHECK(n_planned(plan) == 100);
    CHECK(!plan.items[0].wants_logits);
}

TEST_CASE("the first request always starts, others when they fit with room to grow") {
    CHECK(may_start({0, 10, 5000, 100}));
    CHECK(may_start({3, 564, 500, 1000}));
    CHECK(!may_start({3, 563, 500, 1000}));
    CHECK(may_start({3, 510, 500, 10}));
}

TEST_CASE("random states: every plan keeps the limits and makes progress") {
    std::mt19937 random(7);
    const auto below = [&](int32_t n) { return static_cast<int32_t>(random() % static_cast<uint32_t>(n)); };
    for (int round = 0; round < 20000; ++round) {
        std::vector<SequenceState> running;
        for (int32_t n = 1 + below(12); n > 0; --n) {
            const int32_t n_known = 1 + below(900);
            running.push_back({n_known, below(2) == 0 ? n_known - 1 : below(n_known)});
        }
        const StepLimits limits{12 + below(512), 1 + below(256), below(200)};
        const auto plan = plan_step(running, limits);

        std::set<size_t> preempted(plan.preempted.begin(), plan.preempted.end());
        int32_t n_cells = limits.n_free_cells;
        for (const size_t i : preempted) {
            n_cells += running[i].n_computed;
        }
        std::set<size_t> seen;
        bool is_generating = false;
        for (const auto& item : plan.items) {
            const auto& state = running[item.sequence];
            CHECK(preempted.count(item.sequence) == 0);
            CHECK(seen.insert(item.sequence).second);
            CHECK(item.count >= 1);
            CHECK(item.first == state.n_computed);
            CHECK(item.first + item.count <= state.n_known);
            CHECK(item.wants_logits == (item.first + item.count == state.n_known));
            is_generating = is_generating || state.n_known - state.n_computed == 1;
        }
        CHECK(n_planned(plan) <= limits.n_batch);
        CHECK(n_planned(plan) <= n_cells);
        // The preempted are the youngest: nobody younger stays.
        CHECK(preempted.empty() || *preempted.begin() + preempted.size() == running.size());
        // All that generate and stay move one token.
        for (size_t i = 0; i < running.size(); ++i) {
            const bool is_alone = running.size() - preempted.size() == 1 && n_cells == 0;
            if (preempted.count(i) == 0 && !is_alone && running[i].n_known - running[i].n_computed == 1) {
                CHECK(seen.count(i) == 1);
            }
        }
        CHECK(!plan.items.empty() || (running.size() - preempted.size() == 1 && n_cells == 0));
        if (is_generating) {
            const int32_t n_generating = static_cast<int32_t>(
                std::count_if(plan.items.begin(), plan.items.end(), [&](const StepItem& item) {
                    return running[item.sequence].n_known - running[item.sequence].n_computed == 1;
                }));
            CHECK(n_planned(plan) - n_generating <= limits.n_prompt_chunk);
        }
    }
}

TEST_MAIN
