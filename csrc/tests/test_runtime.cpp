#include <string>
#include <thread>

#include "ggml.h"
#include "llama.h"
#include "llama/abort_guard.hpp"
#include "llama/log.hpp"
#include "llama/runtime.hpp"
#include "tests/check.hpp"

namespace runtime = tea::runtime;

namespace {

void log(const std::string& text) {
    ggml_log_callback callback = nullptr;
    void* user_data = nullptr;
    llama_log_get(&callback, &user_data);
    callback(GGML_LOG_LEVEL_ERROR, text.c_str(), user_data);
}

bool aborts_by_throwing() {
    try {
        GGML_ABORT("on purpose");
    } catch (const runtime::Aborted& abort) {
        return std::string(abort.what()).find("on purpose") != std::string::npos;
    }
}

bool was_swallowed(const runtime::AbortGuard& guard) {
    try {
        guard.check();
    } catch (const runtime::Aborted&) {
        return true;
    }
    return false;
}

// Destroyed after the texts that the log keeps for the main thread: they are made later.
struct LogsAtTheEnd {
    ~LogsAtTheEnd() { log(std::string(100000, 'y')); }
};
const LogsAtTheEnd logs_at_the_end;

}  // namespace

TEST_CASE("an abort is thrown on any thread, guarded or not") {
    runtime::initialize();
    CHECK(aborts_by_throwing());
    bool was_thrown = false;
    std::thread([&] { was_thrown = aborts_by_throwing(); }).join();
    CHECK(was_thrown);
}

TEST_CASE("a guard tells of an abort that was swallowed, and not of one before it") {
    CHECK(aborts_by_throwing());
    const runtime::AbortGuard guard;
    CHECK(!was_swallowed(guard));
    CHECK(aborts_by_throwing());
    CHECK(was_swallowed(guard));
}

TEST_CASE("a line of the log may come in pieces") {
    runtime::take_log_lines();
    log("one ");
    log("line\nand half of another");
    const auto lines = runtime::take_log_lines();
    CHECK(lines.size() == 1 && lines[0].text == "one line" && lines[0].level == runtime::LogLevel::error);
    log(std::string(1000, 'x'));  // stays unfinished: logs_at_the_end adds to it, if it is still there
}

TEST_MAIN
