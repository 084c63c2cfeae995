#include <random>
#include <string>

#include "sampling/text_stream.hpp"
#include "tests/check.hpp"

using tea::TextStream;

namespace {

// Feeds the bytes in pieces of n and ends; returns all that came out.
std::string run(const std::string& bytes, size_t n, std::vector<std::string> stop, bool is_cut = false) {
    TextStream stream(std::move(stop));
    std::string text;
    for (size_t i = 0; i < bytes.size(); i += n) {
        text += stream.push(bytes.substr(i, n));
    }
    return text + stream.finish(is_cut);
}

}  // namespace

TEST_CASE("ASCII passes at once") {
    TextStream stream({});
    CHECK(stream.push("Hello") == "Hello");
    CHECK(stream.finish(false).empty());
    CHECK(!stream.has_stopped());
}

TEST_CASE("a character is held until its last byte") {
    TextStream stream({});
    CHECK(stream.push("a\xF0\x9F") == "a");
    CHECK(stream.push("\x98").empty());
    CHECK(stream.push("\x80!") == "\xF0\x9F\x98\x80!");
}

TEST_CASE("a character cut by a limit is left out, a damaged one is replaced") {
    CHECK(run("ab\xE2\x82", 1, {}, /*is_cut=*/true) == "ab");
    CHECK(run("ab\xE2\x82", 1, {}, /*is_cut=*/false) == "ab\xEF\xBF\xBD");
}

TEST_CASE("bytes that are never UTF-8 are replaced as Python does") {
    const std::string r = "\xEF\xBF\xBD";
    CHECK(run("\x80", 1, {}) == r);
    CHECK(run("\xC0\x80", 1, {}) == r + r);
    CHECK(run("\xED\xA0\x80", 1, {}) == r + r + r);  // a surrogate
    CHECK(run("\xE2\x82z", 1, {}) == r + "z");
    CHECK(run("\xF5z", 1, {}) == r + "z");
    CHECK(run("\xF4\x90\x80\x80", 1, {}) == r + r + r + r);  // beyond U+10FFFF
}

TEST_CASE("text ends right before a stop string, across pieces") {
    for (size_t n = 1; n <= 8; ++n) {
        CHECK(run("one two STOP three", n, {"STOP"}) == "one two ");
        CHECK(run("a\n\nUser: b", n, {"\n\nUser:", "zzz"}) == "a");
    }
}

TEST_CASE("what may begin a stop string is held back, then released") {
    TextStream stream({"STOP"});
    CHECK(stream.push("x ST") == "x ");
    CHECK(stream.push("AR") == "STAR");
    CHECK(stream.push("S").empty());
    CHECK(stream.finish(true) == "S");
    CHECK(!stream.has_stopped());
}

TEST_CASE("the first stop string in the text wins") {
    CHECK(run("abcdef", 6, {"ef", "cd"}) == "ab");
    CHECK(run("aaab", 1, {"aab"}) == "a");
}

TEST_CASE("after the stop nothing is taken") {
    TextStream stream({"."});
    CHECK(stream.push("end. more") == "end");
    CHECK(stream.has_stopped());
    CHECK(stream.push("more").empty());
    CHECK(stream.finish(false).empty());
}

TEST_CASE("stop strings of several bytes a character") {
    for (size_t n = 1; n <= 4; ++n) {
        CHECK(run("caf\xC3\xA9 cr\xC3\xA8me", n, {"\xC3\xA8"}) == "caf\xC3\xA9 cr");
    }
}

TEST_CASE("random bytes: however they are cut, the same text comes out") {
    std::mt19937 random(11);
    const std::string alphabet = "ab\xC3\xA9\xF0\x9F\x98\x80\xE2\x82\xAC\xFFSTOP";
    for (int round = 0; round < 5000; ++round) {
        std::string bytes;
        for (size_t n = random() % 24; n > 0; --n) {
            bytes += alphabet[random() % alphabet.size()];
        }
        const std::vector<std::string> stop{"ST", "ab\xC3"};
        const std::string whole = run(bytes, bytes.size() + 1, {"ST", "aba"});
        for (size_t n = 1; n < 6; ++n) {
            CHECK(run(bytes, n, {"ST", "aba"}) == whole);
        }
        CHECK(whole.find("ST") == std::string::npos);
    }
}

TEST_MAIN
