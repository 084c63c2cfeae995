#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "base/error.hpp"

// What llama.cpp keeps per process: its backends, its log, its abort handler; and what fork() does to us.

namespace tea::runtime {

// Brings llama.cpp up, once; cheap when it is up. Every entry into llama.cpp comes after this.
void initialize();

// --- fork ---------------------------------------------------------------------------------------

// Number of fork() calls between this process and the first one that loaded the library.
uint64_t fork_generation();

// Remembers the process an object was made in. Threads and locks do not survive fork(): what belongs
// to the parent is refused by check() and must be leaked, not destroyed.
class ForkStamp {
  public:
    bool is_foreign() const { return generation_ != fork_generation(); }
    void check() const;  // throws Error{engine_forked}

  private:
    uint64_t generation_ = fork_generation();
};

// --- log ----------------------------------------------------------------------------------------

struct LogLine {
    int level;  // of Python's logging: 10 debug, 20 info, 30 warning, 40 error
    std::string text;
};

// Takes the lines llama.cpp logged since the last call, oldest first. When nobody calls, the oldest of
// more than 4096 lines are dropped, and the first line returned says how many.
std::vector<LogLine> take_log_lines();

// Adds a line of our own.
void write_log(int level, std::string text);

// What llama.cpp logs on this thread from now on is (not) the consequence of something we did on purpose:
// it is debug output then, whatever llama.cpp calls it.
void expect_errors(bool are_expected);

// While one lives, the calling thread's warnings and errors are also collected in it. Quiet: nothing that the
// thread logs meanwhile is written to the log.
class LogCapture {
  public:
    explicit LogCapture(bool is_quiet = false);
    ~LogCapture();
    LogCapture(const LogCapture&) = delete;
    LogCapture& operator=(const LogCapture&) = delete;

    // The last lines joined by newlines, or `otherwise` when there were none.
    std::string last_lines(const std::string& otherwise) const;

  private:
    friend void capture_line(int level, const std::string& text);
    friend bool is_quiet();
    std::vector<std::string> lines_;
    LogCapture* outer_;
    bool is_quiet_;
};

// --- abort guard --------------------------------------------------------------------------------

// GGML_ABORT and GGML_ASSERT throw this instead of ending the process, on every thread of ours. What was
// being computed is in an unknown state: the objects involved must be leaked and never used again. It becomes
// an Error where one knows what failed, and an InferenceError at the latest on its way into Python
// (bindings/py_errors.cpp).
class Aborted : public std::exception {
  public:
    explicit Aborted(std::string message) : message_(std::move(message)) {}
    const char* what() const noexcept override { return message_.c_str(); }

  private:
    std::string message_;
};

// Has the memory ready that a thread's first exception takes: the C library ends the process when it cannot
// be had, as may be when the exception is std::bad_alloc. To be called when a thread starts, and by
// AbortGuard.
void be_ready_to_throw();

// llama.cpp may swallow Aborted (it catches std::exception here and there): around such a call, `check()`
// throws it again.
class AbortGuard {
  public:
    AbortGuard();
    ~AbortGuard();
    AbortGuard(const AbortGuard&) = delete;
    AbortGuard& operator=(const AbortGuard&) = delete;

    void check() const;  // throws Aborted when an abort was hit since construction
};

}  // namespace tea::runtime
