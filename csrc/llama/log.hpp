#pragma once

#include <string>
#include <vector>

// llama.cpp's log: kept in memory until somebody takes it.

namespace tea::runtime {

enum class LogLevel { debug = 10, info = 20, warning = 30, error = 40 };  // the numbers of Python's logging

struct LogLine {
    LogLevel level;
    std::string text;
};

// llama.cpp logs here from now on.
void receive_log();

// Takes the lines logged since the last call, oldest first. When nobody calls, the oldest of more than 4096
// lines are dropped, and the first line returned says how many.
std::vector<LogLine> take_log_lines();

// Adds a line that does not come from llama.cpp.
void write_log(LogLevel level, std::string text);

// Whether llama.cpp's messages on this thread follow from something we did on purpose, such as ending a step:
// they are debug output then, whatever llama.cpp calls them.
void expect_errors(bool are_expected);

// Around fork(): no thread may hold the log's lock, since the child does not have that thread.
void lock_log();
void unlock_log();

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

    bool is_quiet() const { return is_quiet_; }
    void add(const std::string& line);

  private:
    std::vector<std::string> lines_;
    LogCapture* outer_;
    bool is_quiet_;
};

}  // namespace tea::runtime
