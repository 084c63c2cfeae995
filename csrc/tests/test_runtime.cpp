#include <new>
#include <stdexcept>
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

// The message of the error that guarded() throws; empty: it threw none.
template <typename Work>
std::string failure_of(Work work) {
    try {
        runtime::guarded(tea::ErrorKind::grammar, "it failed", [&](const runtime::Guard&) { work(); });
    } catch (const tea::Error& error) {
        return error.what();
    }
    return {};
}

bool begins_with(const std::string& text, const std::string& beginning) {
    return text.compare(0, beginning.size(), beginning) == 0;
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

TEST_CASE("guarded code fails with an abort that was swallowed, and not with one before it") {
    CHECK(aborts_by_throwing());
    CHECK(failure_of([] {}).empty());
    const std::string failure = failure_of([] { CHECK(aborts_by_throwing()); });
    CHECK(begins_with(failure, "it failed: ") && failure.find("on purpose") != std::string::npos);
}

TEST_CASE("a guard inside of another tells of its own aborts, and the outer one of those before and after") {
    CHECK(failure_of([] { CHECK(!failure_of([] { GGML_ABORT("inner"); }).empty()); }).empty());
    CHECK(!failure_of([] {
               CHECK(aborts_by_throwing());
               CHECK(failure_of([] {}).empty());
           }).empty());
}

TEST_CASE("foreign exceptions become errors of the kind that was asked for, errors stay as they are") {
    CHECK(failure_of([] { throw std::out_of_range("index"); }) == "it failed: index");
    CHECK(failure_of([] { throw std::bad_alloc(); }) == "it failed: there is not enough memory");
    CHECK(failure_of([] { throw tea::Error(tea::ErrorKind::config, "as it is"); }) == "as it is");
    try {
        runtime::guarded(tea::ErrorKind::grammar, "it failed",
                         [](const runtime::Guard&) { GGML_ABORT("x"); });
        CHECK(false);
    } catch (const runtime::Aborted& abort) {
        CHECK(abort.kind == tea::ErrorKind::grammar);
    }
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
