#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "planning/scheduler.hpp"
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
                           [](int32_t sum, const StepItem& item) { return sum + item.count + item.n_draft; });
}

const StepItem* item_of(const StepPlan& plan, size_t running) {
    for (const auto& item : plan.items) {
        if (item.running == running) {
            return &item;
        }
    }
    return nullptr;
}

}  // namespace

TEST_CASE("nothing runs: nothing is planned") {
    const auto plan = plan_step({}, roomy);
    CHECK(plan.items.empty());
    CHECK(!plan.must_preempt);
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
    CHECK(plan.items[0].running == 1);
    CHECK(plan.items[1].running == 2);
    CHECK(plan.items[0].count == 1);
    CHECK(plan.items[0].wants_logits);
    CHECK(plan.items[2].running == 0);
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

TEST_CASE("fewer cells than sequences that generate: one must go") {
    CHECK(plan_step({{50, 49}, {50, 49}, {50, 49}}, {512, 256, 2}).must_preempt);
    CHECK(!plan_step({{50, 49}, {50, 49}, {50, 49}}, {512, 256, 3}).must_preempt);
}

TEST_CASE("only prompts and no cells: one of them must go") {
    CHECK(plan_step({{500, 100}, {500, 100}}, {512, 256, 0}).must_preempt);
    const auto plan = plan_step({{500, 100}, {500, 100}}, {512, 256, 60});
    CHECK(!plan.must_preempt);
    CHECK(n_planned(plan) == 60);
    CHECK(plan.items[0].running == 0);
}

TEST_CASE("a lone sequence is never preempted") {
    const auto plan = plan_step({{50, 49}}, {512, 256, 0});
    CHECK(!plan.must_preempt);
    CHECK(plan.items.empty());
}

TEST_CASE("a prompt pauses where it is told to") {
    const auto plan = plan_step({{400, 0, 0, 130}}, roomy);
    CHECK(plan.items[0].count == 130);
    CHECK(!plan.items[0].wants_logits);
    CHECK(plan_step({{400, 130, 0, 130}}, roomy).items[0].count == 270);
}

TEST_CASE("guesses take what others leave") {
    auto plan = plan_step({{50, 49, 5}, {60, 59, 5}}, roomy);
    CHECK(plan.items[0].count == 1);
    CHECK(plan.items[0].n_draft == 5);
    CHECK(plan.items[1].n_draft == 5);
    plan = plan_step({{50, 49, 5}, {60, 59, 5}}, {512, 256, 5});
    CHECK(plan.items[0].n_draft == 3);
    CHECK(plan.items[1].n_draft == 0);
    plan = plan_step({{50, 49, 5}, {600, 0}}, {512, 100, 1000});
    CHECK(item_of(plan, 1)->count == 100);
    CHECK(plan.items[0].n_draft == 0);
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
            const int32_t n_computed = below(2) == 0 ? n_known - 1 : below(n_known);
            running.push_back({n_known, n_computed, below(8), below(n_known)});
        }
        const StepLimits limits{12 + below(512), 1 + below(256), below(200)};
        const auto plan = plan_step(running, limits);

        const auto n_generating = std::count_if(running.begin(), running.end(), [](const auto& state) {
            return state.n_known - state.n_computed == 1;
        });
        if (plan.must_preempt) {
            CHECK(running.size() > 1);
            CHECK(limits.n_free_cells < std::max<int64_t>(n_generating, 1));
            CHECK(plan.items.empty());
            continue;
        }
        std::set<size_t> seen;
        int32_t n_decoded = 0;
        for (const auto& item : plan.items) {
            const auto& state = running[item.running];
            CHECK(seen.insert(item.running).second);
            CHECK(item.count >= 1);
            CHECK(item.first == state.n_computed);
            CHECK(item.first + item.count <= state.n_known);
            CHECK(item.wants_logits == (item.first + item.count == state.n_known));
            CHECK(item.n_draft <= state.n_draft);
            CHECK(item.n_draft == 0 || state.n_known - state.n_computed == 1);
            CHECK(state.n_pause <= item.first || item.first + item.count <= state.n_pause);
            n_decoded += state.n_known - state.n_computed == 1 ? 1 : 0;
        }
        CHECK(n_planned(plan) <= std::min(limits.n_batch, limits.n_free_cells));
        CHECK(!plan.items.empty() || (running.size() == 1 && limits.n_free_cells == 0));
        CHECK(n_decoded == n_generating || limits.n_free_cells == 0);
        CHECK(n_decoded == 0 || n_planned(plan) - n_decoded <= limits.n_prompt_chunk);
    }
}

TEST_MAIN

TEST_CASE("prompts that are not paced take what they need, and leave the chunk to those that are") {
    std::vector<SequenceState> states{{900, 0}, {10, 9}, {100, 0}, {50, 0}};
    states[2].is_paced = false;
    const auto plan = plan_step(states, {512, 8, 100000});
    CHECK(item_of(plan, 0)->count == 8);  // a long and urgent one does not take the others' room
    CHECK(item_of(plan, 1)->count == 1);
    CHECK(item_of(plan, 2)->count == 100);
    CHECK(item_of(plan, 3) == nullptr);
}

TEST_CASE("no more of a sequence is computed than it may be") {
    std::vector<SequenceState> states{{900, 0}, {800, 0}, {10, 9}};
    states[0].max_count = 30;
    states[1].max_count = 0;
    const auto plan = plan_step(states, roomy);
    CHECK(item_of(plan, 0)->count == 30);
    CHECK(!item_of(plan, 0)->wants_logits);
    CHECK(item_of(plan, 1) == nullptr);
    CHECK(item_of(plan, 2)->count == 1);
}
