#include "llama/log.hpp"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <iterator>
#include <mutex>
#include <utility>

#include "ggml.h"
#include "llama.h"

namespace tea::runtime {

namespace {

constexpr size_t max_log_lines = 4096;
constexpr size_t max_captured_lines = 8;

// Leaked on purpose: llama.cpp may log from static destructors.
struct Log {
    std::mutex mutex;
    std::deque<LogLine> lines;  // guarded by mutex
    size_t n_dropped = 0;       // guarded by mutex
};

Log& log() {
    static Log* instance = new Log;
    return *instance;
}

thread_local bool errors_are_expected = false;
thread_local LogCapture* current_capture = nullptr;
thread_local LogLevel partial_level = LogLevel::debug;
thread_local bool is_debug = false;

// Static destructors run after those of a thread's own objects, and llama.cpp may log from them: they see
// that the text is gone. Only a flag without a destructor can say so.
thread_local bool text_is_gone = false;
struct PartialLine {
    ~PartialLine() { text_is_gone = true; }

    std::string text;  // of log calls until their newline comes: a line may arrive in pieces
};
thread_local PartialLine partial;

LogLevel level_of(ggml_log_level level) {
    switch (level) {
        case GGML_LOG_LEVEL_ERROR:
            return LogLevel::error;
        case GGML_LOG_LEVEL_WARN:
            return LogLevel::warning;
        default:  // info, too: hundreds of lines for each load
            return LogLevel::debug;
    }
}

void add_line(std::string line) {
    const bool is_quiet = current_capture != nullptr && current_capture->is_quiet();
    if (current_capture != nullptr && partial_level >= LogLevel::warning) {
        current_capture->add(line);
    }
    if (!is_quiet) {
        write_log(errors_are_expected ? LogLevel::debug : partial_level, std::move(line));
    }
}

// Called by llama.cpp from any of its threads.
void on_log(ggml_log_level level, const char* text, void* /*user_data*/) {
    if (level != GGML_LOG_LEVEL_CONT) {
        is_debug = level == GGML_LOG_LEVEL_DEBUG;
        partial_level = level_of(level);
    }
    if (is_debug || text_is_gone) {
        return;  // of debug, thousands of lines for each context
    }
    partial.text += text;
    size_t begin = 0;
    for (size_t end; (end = partial.text.find('\n', begin)) != std::string::npos; begin = end + 1) {
        std::string line = partial.text.substr(begin, end - begin);
        if (line.find_first_not_of(" .\t\r") != std::string::npos) {  // else empty, or a progress bar's dots
            add_line(std::move(line));
        }
    }
    partial.text.erase(0, begin);
}

}  // namespace

void receive_log() {
    llama_log_set(on_log, nullptr);
}

void expect_errors(bool are_expected) {
    errors_are_expected = are_expected;
}

void write_log(LogLevel level, std::string text) {
    const std::lock_guard lock(log().mutex);
    log().lines.push_back({level, std::move(text)});
    if (log().lines.size() > max_log_lines) {
        log().lines.pop_front();
        ++log().n_dropped;
    }
}

std::vector<LogLine> take_log_lines() {
    const std::lock_guard lock(log().mutex);
    std::vector<LogLine> lines;
    if (log().n_dropped > 0) {
        lines.push_back({LogLevel::warning, std::to_string(log().n_dropped) + " older lines were dropped"});
        log().n_dropped = 0;
    }
    std::move(log().lines.begin(), log().lines.end(), std::back_inserter(lines));
    log().lines.clear();
    return lines;
}

void lock_log() {
    log().mutex.lock();
}

void unlock_log() {
    log().mutex.unlock();
}

LogCapture::LogCapture(bool is_quiet)
    : outer_(current_capture), is_quiet_(is_quiet || (outer_ != nullptr && outer_->is_quiet_)) {
    current_capture = this;
}

LogCapture::~LogCapture() {
    current_capture = outer_;
}

void LogCapture::add(const std::string& line) {
    lines_.push_back(line);
    if (lines_.size() > max_captured_lines) {
        lines_.erase(lines_.begin());
    }
}

std::string LogCapture::last_lines(const std::string& otherwise) const {
    std::string joined;
    for (const auto& line : lines_) {
        joined += (joined.empty() ? "" : "\n") + line;
    }
    return joined.empty() ? otherwise : joined;
}

}  // namespace tea::runtime
