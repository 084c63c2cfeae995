#include <map>
#include <numeric>
#include <random>

#include "engine/sequence_pool.hpp"
#include "tests/check.hpp"

using tea::SequencePool;
using Tokens = std::vector<int32_t>;

namespace {

Tokens count_up(int32_t first, int32_t n) {
    Tokens tokens(static_cast<size_t>(n));
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
}

// A pool with a stand-in for the KV cache that it must keep in step with.
struct Fixture {
    std::map<int32_t, int32_t> n_in_cache;  // by sequence
    bool can_go_back = true;
    SequencePool pool;

    explicit Fixture(int32_t n_sequences = 4, int32_t n_cells = 100)
        : pool(
              n_sequences, n_cells,
              [this](int32_t sequence, int32_t n_kept) {
                  CHECK(n_kept < n_in_cache[sequence]);
                  n_in_cache[sequence] = n_kept;
              },
              [this](int32_t, int32_t n_held, int32_t n_kept) { return can_go_back || n_held == n_kept; }) {}

    // Runs a request to its end: the tokens stay behind, idle.
    int32_t finish(const Tokens& tokens) {
        const auto attachment = pool.attach(tokens);
        compute(attachment.sequence, tokens, attachment.n_cached);
        pool.release(attachment.sequence);
        return attachment.sequence;
    }

    void compute(int32_t sequence, const Tokens& tokens, int32_t n_cached) {
        CHECK(n_in_cache[sequence] == n_cached);
        const auto n_new = static_cast<int32_t>(tokens.size()) - n_cached;
        pool.extend(sequence, tokens.data() + n_cached, n_new);
        n_in_cache[sequence] += n_new;
    }
};

}  // namespace

TEST_CASE("a fresh pool is empty") {
    const Fixture fixture;
    CHECK(fixture.pool.has_room());
    CHECK(fixture.pool.n_used_cells() == 0);
    CHECK(fixture.pool.n_available_cells() == 100);
    CHECK(fixture.pool.n_attachable({1, 2, 3}) == 0);
}

TEST_CASE("the next turn of a chat continues its sequence") {
    Fixture fixture;
    const int32_t first = fixture.finish(count_up(0, 20));
    const Tokens next = count_up(0, 30);
    CHECK(fixture.pool.n_attachable(next) == 20);
    const auto attachment = fixture.pool.attach(next);
    CHECK(attachment.sequence == first);
    CHECK(attachment.n_cached == 20);
    CHECK(fixture.pool.n_used_cells() == 20);
}

TEST_CASE("the same prompt again: all but the last token are cached") {
    Fixture fixture;
    fixture.finish(count_up(0, 20));
    const auto attachment = fixture.pool.attach(count_up(0, 20));
    CHECK(attachment.n_cached == 19);
    CHECK(fixture.n_in_cache[attachment.sequence] == 19);
}

TEST_CASE("a little in common does not spoil a long past while sequences are free") {
    Fixture fixture;
    const int32_t first = fixture.finish(count_up(0, 40));
    Tokens other = count_up(0, 3);
    other.push_back(99);
    const auto attachment = fixture.pool.attach(other);
    CHECK(attachment.sequence != first);
    CHECK(attachment.n_cached == 0);
}

TEST_CASE("memory that cannot go back is continued at its end or not at all") {
    Fixture fixture;
    fixture.can_go_back = false;
    fixture.finish(count_up(0, 20));
    CHECK(fixture.pool.n_attachable(count_up(0, 15)) == 0);
    CHECK(fixture.pool.n_attachable(count_up(0, 20)) == 0);
    CHECK(fixture.pool.n_attachable(count_up(0, 21)) == 20);
}

TEST_CASE("all sequences taken: no room; released: room") {
    Fixture fixture(2);
    const auto a = fixture.pool.attach({1});
    const auto b = fixture.pool.attach({2});
    CHECK(a.sequence != b.sequence);
    CHECK(!fixture.pool.has_room());
    fixture.pool.release(a.sequence);
    CHECK(fixture.pool.has_room());
}

TEST_CASE("room is made from what was unused longest, never from what runs") {
    Fixture fixture(4, 100);
    const int32_t oldest = fixture.finish(count_up(0, 30));
    const int32_t newer = fixture.finish(count_up(1000, 30));
    const auto running = fixture.pool.attach(count_up(2000, 30));
    fixture.compute(running.sequence, count_up(2000, 30), 0);
    CHECK(fixture.pool.n_available_cells() == 70);
    fixture.pool.make_room(40);
    CHECK(fixture.pool.n_held(oldest) == 0);
    CHECK(fixture.pool.n_held(newer) == 30);
    fixture.pool.make_room(100);
    CHECK(fixture.pool.n_held(newer) == 0);
    CHECK(fixture.pool.n_held(running.sequence) == 30);
}

TEST_CASE("clear forgets everything") {
    Fixture fixture;
    fixture.finish(count_up(0, 20));
    fixture.pool.attach(count_up(50, 5));
    fixture.pool.clear();
    CHECK(fixture.pool.n_used_cells() == 0);
    CHECK(fixture.pool.n_attachable(count_up(0, 30)) == 0);
}

TEST_CASE("random operations: the ledger agrees with the cache") {
    std::mt19937 random(3);
    const auto below = [&](uint32_t n) { return static_cast<int32_t>(random() % n); };
    Fixture fixture(5, 300);
    std::map<int32_t, Tokens> running;
    for (int round = 0; round < 20000; ++round) {
        if (below(2) == 0 && fixture.pool.has_room()) {
            Tokens tokens = count_up(1000 * below(3), 1 + below(40));
            tokens.back() += below(2);
            const int32_t n_promised = fixture.pool.n_attachable(tokens);
            fixture.pool.make_room(40);
            if (fixture.pool.n_cells() - fixture.pool.n_used_cells() < 40) {
                continue;
            }
            const auto attachment = fixture.pool.attach(tokens);
            CHECK(attachment.n_cached <= n_promised);
            CHECK(attachment.n_cached < static_cast<int32_t>(tokens.size()));
            fixture.compute(attachment.sequence, tokens, attachment.n_cached);
            CHECK(running.emplace(attachment.sequence, tokens).second);
        } else if (!running.empty()) {
            auto chosen = running.begin();
            std::advance(chosen, below(static_cast<uint32_t>(running.size())));
            if (below(4) == 0) {
                fixture.pool.drop(chosen->first);
            } else {
                fixture.pool.release(chosen->first);
            }
            running.erase(chosen);
        }
        int32_t n_cached = 0;
        for (const auto& [sequence, n] : fixture.n_in_cache) {
            n_cached += n;
            CHECK(fixture.pool.n_held(sequence) == n);
        }
        CHECK(fixture.pool.n_used_cells() == n_cached);
        CHECK(fixture.pool.n_used_cells() <= fixture.pool.n_cells());
    }
}

TEST_MAIN
