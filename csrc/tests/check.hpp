#pragma once

// The few lines of a test framework that these tests need: no C++ one is on the package index.

#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace tea::test {

inline int n_failures = 0;

inline std::vector<std::pair<const char*, std::function<void()>>>& cases() {
    static std::vector<std::pair<const char*, std::function<void()>>> all;
    return all;
}

struct Case {
    Case(const char* name, std::function<void()> body) { cases().emplace_back(name, std::move(body)); }
};

inline void check(bool holds, const char* expression, const char* file, int line) {
    if (!holds) {
        std::fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, expression);
        ++n_failures;
    }
}

inline int run_all() {
    for (const auto& [name, body] : cases()) {
        const int n_before = n_failures;
        body();
        std::printf("%s %s\n", n_failures == n_before ? "ok    " : "FAILED", name);
    }
    std::printf("%zu cases, %d failures\n", cases().size(), n_failures);
    return n_failures == 0 && !cases().empty() ? 0 : 1;
}

}  // namespace tea::test

#define CHECK(expression) ::tea::test::check((expression), #expression, __FILE__, __LINE__)
#define TEA_JOIN2(a, b) a##b
#define TEA_JOIN(a, b) TEA_JOIN2(a, b)
#define TEST_CASE(name)                                                                              \
    static void TEA_JOIN(case_, __LINE__)();                                                         \
    static const ::tea::test::Case TEA_JOIN(registered_, __LINE__)(name, TEA_JOIN(case_, __LINE__)); \
    static void TEA_JOIN(case_, __LINE__)()
#define TEST_MAIN                      \
    int main() {                       \
        return ::tea::test::run_all(); \
    }
