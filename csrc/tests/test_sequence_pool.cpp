#include <map>
#include <numeric>
#include <random>
#include <set>

#include "planning/sequence_pool.hpp"
#include "tests/check.hpp"

using tea::SequenceMemory;
using tea::SequencePool;
using Tokens = std::vector<int32_t>;

namespace {

Tokens count_up(int32_t first, int32_t n) {
    Tokens tokens(static_cast<size_t>(n));
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
}

// A stand-in for the KV cache, with cells as llama.cpp has them: each is held by a set of sequences.
class FakeMemory : public SequenceMemory {
  public:
    bool can_go_back = true;

    void trim(int32_t sequence, int32_t n_kept) override {
        auto& cells = cells_[sequence];
        CHECK(n_kept < static_cast<int32_t>(cells.size()));
        CHECK(can_go_back || n_kept == 0);
        for (auto cell = cells.begin() + n_kept; cell != cells.end(); ++cell) {
            holders_[*cell].erase(sequence);
            if (holders_[*cell].empty()) {
                holders_.erase(*cell);
            }
        }
        cells.resize(static_cast<size_t>(n_kept));
    }
    bool fails = false;

    bool copy(int32_t from, int32_t to, int32_t n) override {
        if (fails) {
            return false;
        }
        CHECK(cells_[to].empty());
        CHECK(n <= n_held(from));
        CHECK(can_go_back || n == n_held(from));
        for (int32_t i = 0; i < n; ++i) {
            put(to, cells_[from][static_cast<size_t>(i)]);
        }
        return true;
    }
    bool can_resume(int32_t sequence, int32_t n_held, int32_t n_kept) const override {
        CHECK(cells_.count(sequence) == 0 || n_held == static_cast<int32_t>(cells_.at(sequence).size()));
        return can_go_back || n_held == n_kept;
    }
    bool keeps_everything() const override { return can_go_back; }

    void compute(int32_t sequence, int32_t n) {
        for (; n > 0; --n) {
            put(sequence, n_made_++);
        }
    }
    int32_t n_held(int32_t sequence) { return static_cast<int32_t>(cells_[sequence].size()); }
    int32_t n_used() const { return static_cast<int32_t>(holders_.size()); }
    const std::vector<int32_t>& cells(int32_t sequence) { return cells_[sequence]; }

  private:
    void put(int32_t sequence, int32_t cell) {
        cells_[sequence].push_back(cell);
        holders_[cell].insert(sequence);
    }

    std::map<int32_t, std::vector<int32_t>> cells_;
    std::map<int32_t, std::set<int32_t>> holders_;
    int32_t n_made_ = 0;
};

struct Fixture {
    FakeMemory memory;
    SequencePool pool;

    explicit Fixture(int32_t n_sequences = 4, int32_t n_cells = 100) : pool(n_sequences, n_cells, memory) {}

    // Starts a request: a sequence with all of its tokens computed.
    int32_t start(const Tokens& tokens) {
        const auto match = pool.find(tokens);
        const int32_t sequence = pool.attach(match);
        CHECK(memory.n_held(sequence) == match.n_cached);
        extend(sequence, tokens, match.n_cached);
        return sequence;
    }
    void extend(int32_t sequence, const Tokens& tokens, int32_t first) {
        const auto n = static_cast<int32_t>(tokens.size()) - first;
        memory.compute(sequence, n);
        pool.extend(sequence, tokens.data() + first, n);
    }
    // Runs one to its end: the tokens stay behind, idle.
    int32_t finish(const Tokens& tokens) {
        const int32_t sequence = start(tokens);
        pool.release(sequence);
        return sequence;
    }
    int32_t n_cached(const Tokens& tokens) const { return pool.find(tokens).n_cached; }
    int32_t n_held(int32_t sequence) const { return static_cast<int32_t>(pool.tokens(sequence).size()); }
    void check() {
        pool.audit();
        CHECK(pool.n_cells() - pool.n_free_cells() == memory.n_used());
        for (int32_t id = 0; id < pool.n_sequences(); ++id) {
            CHECK(n_held(id) == memory.n_held(id));
        }
    }
};

}  // namespace

TEST_CASE("a fresh pool is empty") {
    Fixture fixture;
    CHECK(fixture.pool.has_room());
    CHECK(fixture.pool.n_available_cells() == 100);
    CHECK(fixture.pool.n_free_cells() == 100);
    CHECK(fixture.n_cached({1, 2, 3}) == 0);
    fixture.check();
}

TEST_CASE("the next turn of a chat takes its sequence over") {
    Fixture fixture;
    const int32_t first = fixture.finish(count_up(0, 20));
    const auto match = fixture.pool.find(count_up(0, 30));
    CHECK(match.n_cached == 20);
    CHECK(match.n_idle == 20);
    CHECK(fixture.pool.attach(match) == first);
    CHECK(fixture.pool.n_pinned_cells() == 20);
    CHECK(fixture.pool.n_idle_cells() == 0);
    fixture.check();
}

TEST_CASE("the same prompt again: all but the last token are cached, and nothing is lost") {
    Fixture fixture;
    const int32_t first = fixture.finish(count_up(0, 20));
    const int32_t second = fixture.start(count_up(0, 20));
    CHECK(second != first);
    CHECK(fixture.n_held(first) == 20);
    CHECK(fixture.pool.n_cells() - fixture.pool.n_free_cells() == 21);
    fixture.pool.release(second);  // it holds nothing that the first does not
    CHECK(fixture.pool.idle_sequences().size() == 1);
    CHECK(fixture.pool.n_idle_cells() == 20);
    fixture.check();
}

TEST_CASE("requests that run share the cells of what they have in common") {
    Fixture fixture;
    Tokens other = count_up(0, 25);
    other.push_back(99);
    const int32_t one = fixture.start(count_up(0, 30));
    const int32_t two = fixture.start(other);
    CHECK(fixture.pool.n_pinned_cells() == 31);
    CHECK(fixture.memory.cells(one)[24] == fixture.memory.cells(two)[24]);
    fixture.pool.drop(one);
    CHECK(fixture.pool.n_pinned_cells() == 26);
    fixture.check();
}

TEST_CASE("an idle beginning of a longer idle text is given up, a running one is not") {
    Fixture fixture;
    fixture.finish(count_up(0, 20));
    const int32_t running = fixture.start(count_up(0, 10));
    Tokens longer = count_up(0, 30);
    longer[19] = 77;
    const int32_t other = fixture.finish(longer);
    CHECK(fixture.pool.idle_sequences().size() == 2);
    CHECK(fixture.n_held(other) == 30);
    fixture.pool.release(running);
    CHECK(fixture.pool.idle_sequences().size() == 2);
    fixture.check();
}

TEST_CASE("memory that cannot go back is continued at its end or not at all") {
    Fixture fixture;
    fixture.memory.can_go_back = false;
    fixture.finish(count_up(0, 20));
    CHECK(fixture.n_cached(count_up(0, 15)) == 0);
    CHECK(fixture.n_cached(count_up(0, 20)) == 0);
    CHECK(fixture.n_cached(count_up(0, 21)) == 20);
    CHECK(fixture.pool.n_common(count_up(0, 15)) == 14);
}

TEST_CASE("a checkpoint lets others begin where memory cannot go back") {
    Fixture fixture;
    fixture.memory.can_go_back = false;
    const int32_t running = fixture.start(count_up(0, 20));
    fixture.pool.checkpoint(running);
    fixture.extend(running, count_up(20, 5), 0);
    Tokens other = count_up(0, 20);
    other.push_back(99);
    const auto match = fixture.pool.find(other);
    CHECK(match.n_cached == 20);
    CHECK(match.sequence != running);
    CHECK(match.n_idle == 0);  // the first one pins them
    fixture.check();
}

TEST_CASE("a past that cannot be copied is computed again") {
    Fixture fixture;
    const int32_t one = fixture.start(count_up(0, 30));
    fixture.memory.fails = true;
    fixture.pool.checkpoint(one);
    CHECK(fixture.pool.idle_sequences().empty());
    Tokens other = count_up(0, 25);
    other.push_back(99);
    const int32_t two = fixture.pool.attach(fixture.pool.find(other));
    CHECK(fixture.n_held(two) == 0);
    fixture.check();
}

TEST_CASE("all sequences taken: no room; released: room") {
    Fixture fixture(2);
    const int32_t a = fixture.start({1});
    const int32_t b = fixture.start({2});
    CHECK(a != b);
    CHECK(!fixture.pool.has_room());
    fixture.pool.release(a);
    CHECK(fixture.pool.has_room());
}

TEST_CASE("without another id, a text loses what follows the common part") {
    Fixture fixture(1);
    fixture.finish(count_up(0, 40));
    Tokens other = count_up(0, 10);
    other.push_back(99);
    CHECK(fixture.start(other) == 0);
    CHECK(fixture.n_held(0) == 11);
    fixture.check();
}

TEST_CASE("room is made from the ends of what was unused longest, never from what runs") {
    Fixture fixture(4, 300);
    const int32_t oldest = fixture.finish(count_up(0, 100));
    const int32_t newer = fixture.finish(count_up(1000, 100));
    const int32_t running = fixture.start(count_up(2000, 100));
    CHECK(fixture.pool.n_available_cells() == 200);
    fixture.pool.make_room(10);
    CHECK(fixture.n_held(oldest) == 64);
    CHECK(fixture.n_held(newer) == 100);
    fixture.pool.make_room(110);
    CHECK(fixture.n_held(oldest) == 0);
    CHECK(fixture.n_held(newer) == 64);
    fixture.pool.make_room(300);
    CHECK(fixture.n_held(newer) == 0);
    CHECK(fixture.n_held(running) == 100);
    fixture.check();
}

TEST_CASE("growing gives free cells; clearing forgets everything") {
    Fixture fixture;
    fixture.finish(count_up(0, 20));
    fixture.pool.grow(300);
    CHECK(fixture.pool.n_free_cells() == 280);
    CHECK(fixture.n_cached(count_up(0, 30)) == 20);
    fixture.pool.clear();
    CHECK(fixture.pool.n_free_cells() == 300);
    CHECK(fixture.n_cached(count_up(0, 30)) == 0);
}

TEST_CASE("a wrong guess is taken back") {
    Fixture fixture;
    const int32_t running = fixture.start(count_up(0, 20));
    fixture.pool.truncate(running, 15);
    CHECK(fixture.pool.n_pinned_cells() == 15);
    fixture.pool.truncate(running, 15);
    fixture.check();
}

void run_random_operations(bool can_go_back) {
    std::mt19937 random(3);
    const auto below = [&](int32_t n) { return static_cast<int32_t>(random() % static_cast<uint32_t>(n)); };
    Fixture fixture(6, 250);
    fixture.memory.can_go_back = can_go_back;
    std::map<int32_t, Tokens> running;
    int64_t n_shared = 0;
    for (int round = 0; round < 20000; ++round) {
        if (below(2) == 0 && running.size() < 4) {
            Tokens tokens = count_up(1000 * below(3), 1 + below(40));
            tokens.back() += below(2);
            const auto match = fixture.pool.find(tokens);
            CHECK(match.n_cached < static_cast<int32_t>(tokens.size()));
            if (fixture.pool.n_available_cells() - match.n_idle < 41 - match.n_cached) {
                continue;
            }
            const int32_t before = fixture.pool.n_pinned_cells();
            const int32_t sequence = fixture.pool.attach(match);
            CHECK(fixture.pool.n_pinned_cells() == before + match.n_idle);
            const auto n_new = static_cast<int32_t>(tokens.size()) - match.n_cached;
            fixture.pool.make_room(n_new);
            CHECK(fixture.pool.n_free_cells() >= n_new);
            fixture.extend(sequence, tokens, match.n_cached);
            n_shared += match.n_cached;
            CHECK(fixture.pool.tokens(sequence) == tokens);
            CHECK(running.emplace(sequence, tokens).second);
        } else if (!running.empty()) {
            auto chosen = running.begin();
            std::advance(chosen, below(static_cast<int32_t>(running.size())));
            switch (below(5)) {
                case 0:
                    fixture.pool.drop(chosen->first);
                    running.erase(chosen);
                    break;
                case 1:
                    fixture.pool.checkpoint(chosen->first);
                    break;
                default:
                    fixture.pool.release(chosen->first);
                    running.erase(chosen);
            }
        }
        fixture.check();
        for (const auto& [sequence, tokens] : running) {
            CHECK(fixture.pool.tokens(sequence) == tokens);
        }
    }
    for (const auto& [sequence, tokens] : running) {
        fixture.pool.release(sequence);
    }
    fixture.pool.make_room(250);
    CHECK(fixture.pool.n_free_cells() == 250);
    CHECK(fixture.memory.n_used() == 0);
    CHECK(n_shared > 10000);
}

TEST_CASE("random operations: the ledger agrees with the cache") {
    run_random_operations(true);
}

TEST_CASE("random operations where memory cannot go back") {
    run_random_operations(false);
}

TEST_MAIN
