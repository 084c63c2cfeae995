#include <numeric>

#include "planning/past_store.hpp"
#include "tests/check.hpp"

using tea::PastStore;
using tea::SavedPast;

namespace {

// n tokens that count up, and a state of 10 bytes for each.
SavedPast past(int32_t first, int32_t n) {
    SavedPast past{std::vector<int32_t>(static_cast<size_t>(n)),
                   std::vector<uint8_t>(10 * static_cast<size_t>(n))};
    std::iota(past.tokens.begin(), past.tokens.end(), first);
    return past;
}

}  // namespace

TEST_CASE("the past with most in common is found, up to the last token") {
    PastStore store(10000);
    store.put(past(100, 50));
    store.put(past(500, 80));
    CHECK(store.find(past(500, 30).tokens).index == 0);
    CHECK(store.find(past(500, 30).tokens).n_common == 29);
    CHECK(store.find(past(100, 70).tokens).n_common == 50);
    CHECK(store.find(past(101, 70).tokens).n_common == 0);
    CHECK(store.n_tokens() == 130);
    const auto taken = store.take(store.find(past(100, 70).tokens).index);
    CHECK(taken.tokens == past(100, 50).tokens);
    CHECK(store.find(past(100, 70).tokens).n_common == 0);
}

TEST_CASE("the longest unused ones go when there is no room") {
    PastStore store(1000);
    CHECK(store.takes(1000));
    CHECK(!store.takes(1001));
    store.put(past(100, 50));
    store.put(past(500, 30));
    store.put(past(900, 40));
    CHECK(store.all().size() == 2);
    CHECK(store.find(past(100, 50).tokens).n_common == 0);
    CHECK(store.find(past(500, 50).tokens).n_common == 30);
}

TEST_CASE("what another one begins with is held once") {
    PastStore store(10000);
    store.put(past(100, 50));
    store.put(past(100, 80));
    CHECK(store.n_tokens() == 80);
    store.put(past(100, 80));
    CHECK(store.n_tokens() == 80);
}

TEST_CASE("a past or a prompt of no tokens has nothing in common with any") {
    PastStore store(10000);
    store.put(past(100, 50));
    CHECK(store.find({}).n_common == 0);
    store.put(past(100, 0));
    CHECK(store.find(past(100, 50).tokens).n_common == 49);
    CHECK(store.find({}).n_common == 0);
}

TEST_CASE("nothing is kept without room") {
    PastStore store(0);
    CHECK(!store.takes(1));
    CHECK(store.find(past(1, 5).tokens).n_common == 0);
}

TEST_MAIN
