#include "planning/prompt_lookup.hpp"
#include "tests/check.hpp"

using tea::PromptLookup;
using Tokens = std::vector<int32_t>;

TEST_CASE("a text continues as it did before") {
    const PromptLookup lookup(4);
    CHECK((lookup.guess({1, 2, 3, 4, 5, 6, 7, 1, 2, 3}, 100) == Tokens{4, 5, 6, 7}));
    CHECK((lookup.guess({1, 2, 3, 4, 5, 6, 7, 1, 2, 3}, 2) == Tokens{4, 5}));
    CHECK(lookup.guess({1, 2, 3, 4, 5, 6, 7, 1, 2, 3}, 0).empty());
}

TEST_CASE("the longest match wins, then the last one") {
    const PromptLookup lookup(1);
    CHECK((lookup.guess({1, 2, 3, 10, 9, 2, 3, 20, 1, 2, 3}, 100) == Tokens{10}));
    CHECK((lookup.guess({1, 2, 3, 10, 1, 2, 3, 20, 1, 2, 3}, 100) == Tokens{20}));
}

TEST_CASE("no guess where nothing repeats, and none without leave") {
    CHECK(PromptLookup(4).guess({1, 2, 3, 4, 5}, 100).empty());
    CHECK(PromptLookup(4).guess({1}, 100).empty());
    CHECK(PromptLookup(4).guess({}, 100).empty());
    CHECK(PromptLookup(0).guess({1, 2, 3, 1, 2, 3}, 100).empty());
}

TEST_CASE("a repeated token is guessed as far as it is known") {
    CHECK((PromptLookup(8).guess({7, 7, 7, 7}, 100) == Tokens{7}));
}

TEST_CASE("wrong guesses make the next ones shorter, right ones longer") {
    PromptLookup lookup(8);
    const Tokens text{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2, 3};
    lookup.learn(8, 0);
    CHECK(lookup.guess(text, 100).size() == 1);
    lookup.learn(1, 1);
    CHECK(lookup.guess(text, 100).size() == 2);
    lookup.learn(2, 2);
    lookup.learn(4, 4);
    lookup.learn(8, 8);
    CHECK(lookup.guess(text, 100).size() == 8);
}

TEST_MAIN
