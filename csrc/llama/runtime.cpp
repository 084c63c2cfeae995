#include "llama/runtime.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <exception>
#include <mutex>

#ifndef _WIN32
#include <pthread.h>
#endif

#include "ggml.h"
#include "llama.h"
#include "llama/backend_modules.hpp"

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

std::atomic<uint64_t> fork_count{0};
thread_local bool errors_are_expected = false;
thread_local LogCapture* current_capture = nullptr;
thread_local int guard_depth = 0;
thread_local int partial_level = 10;
thread_local bool is_debug = false;

// Static destructors run after those of a thread's own objects, and llama.cpp may log from them: they see
// that the texts are gone. Only a flag without a destructor can say so.
thread_local bool texts_are_gone = false;
struct ThreadTexts {
    ~ThreadTexts() { texts_are_gone = true; }

    std::string abort_message;  // empty: no abort was hit on this thread
    std::string partial_line;   // text of log calls until their newline comes: a line may arrive in pieces
};
thread_local ThreadTexts texts;

#if defined(__GNUC__)
// ggml forks a debugger for a backtrace when it aborts, and decides on that in a static initializer:
// this must run before it. 101 is the first priority open to programs.
__attribute__((constructor(101))) void disable_ggml_backtrace() {
    setenv("GGML_NO_BACKTRACE", "1", 0);
}
#endif

int python_level(ggml_log_level level) {
    switch (level) {
        case GGML_LOG_LEVEL_ERROR:
            return 40;
        case GGML_LOG_LEVEL_WARN:
            return 30;
        default:  // info, too: hundreds of lines for each load
            return 10;
    }
}

}  // namespace

void capture_line(int level, const std::string& text) {
    if (current_capture == nullptr || level < 30) {
        return;
    }
    auto& lines = current_capture->lines_;
    lines.push_back(text);
    if (lines.size() > max_captured_lines) {
        lines.erase(lines.begin());
    }
}

bool is_quiet() {
    return current_capture != nullptr && current_capture->is_quiet_;
}

void expect_errors(bool are_expected) {
    errors_are_expected = are_expected;
}

void write_log(int level, std::string text) {
    const std::lock_guard lock(log().mutex);
    log().lines.push_back({level, std::move(text)});
    if (log().lines.size() > max_log_lines) {
        log().lines.pop_front();
        ++log().n_dropped;
    }
}

namespace {

// Called by llama.cpp from any of its threads.
void on_log(ggml_log_level level, const char* text, void* /*user_data*/) {
    if (level != GGML_LOG_LEVEL_CONT) {
        is_debug = level == GGML_LOG_LEVEL_DEBUG;
        partial_level = python_level(level);
    }
    if (is_debug || texts_are_gone) {
        return;  // of debug, thousands of lines for each context
    }
    std::string& partial_line = texts.partial_line;
    partial_line += text;
    size_t begin = 0;
    for (size_t end; (end = partial_line.find('\n', begin)) != std::string::npos; begin = end + 1) {
        std::string line = partial_line.substr(begin, end - begin);
        if (line.find_first_not_of(" .\t\r") == std::string::npos) {
            continue;  // empty, or dots of a progress bar
        }
        capture_line(partial_level, line);
        if (!is_quiet()) {
            write_log(errors_are_expected ? 10 : partial_level, std::move(line));
        }
    }
    partial_line.erase(0, begin);
}

// On any thread. Where nobody catches it, on llama.cpp's own threads, it ends the process, as ggml_abort()
// would.
void on_abort(const char* message) {
    if (!texts_are_gone) {
        texts.abort_message = message;
    }
    throw Aborted(message);
}

}  // namespace

void initialize() {
    static const bool once = [] {
        llama_log_set(on_log, nullptr);
        ggml_set_abort_callback(on_abort);
        backend_modules::load();
        llama_backend_init();
#ifndef _WIN32
        // The log's lock must not be held by a thread that the child does not have.
        pthread_atfork([] { log().mutex.lock(); }, [] { log().mutex.unlock(); },
                       [] {
                           log().mutex.unlock();
                           fork_count.fetch_add(1, std::memory_order_relaxed);
                       });
#endif
        return true;
    }();
    (void)once;
}

uint64_t fork_generation() {
    return fork_count.load(std::memory_order_relaxed);
}

void ForkStamp::check() const {
    if (is_foreign()) {
        throw Error(ErrorKind::engine_forked,
                    "this model was loaded before fork(), and its threads do not exist in the child: load it "
                    "again here, or start children with the 'spawn' or 'forkserver' method");
    }
}

std::vector<LogLine> take_log_lines() {
    const std::lock_guard lock(log().mutex);
    std::vector<LogLine> lines;
    if (log().n_dropped > 0) {
        lines.push_back({30, std::to_string(log().n_dropped) + " older lines were dropped"});
        log().n_dropped = 0;
    }
    std::move(log().lines.begin(), log().lines.end(), std::back_inserter(lines));
    log().lines.clear();
    return lines;
}

LogCapture::LogCapture(bool is_quiet)
    : outer_(current_capture), is_quiet_(is_quiet || (outer_ != nullptr && outer_->is_quiet_)) {
    current_capture = this;
}

LogCapture::~LogCapture() {
    current_capture = outer_;
}

std::string LogCapture::last_lines(const std::string& otherwise) const {
    std::string joined;
    for (const auto& line : lines_) {
        joined += (joined.empty() ? "" : "\n") + line;
    }
    return joined.empty() ? otherwise : joined;
}

void be_ready_to_throw() {
    volatile int n = std::uncaught_exceptions();  // volatile: or the call is left out
    (void)n;
}

AbortGuard::AbortGuard() {
    be_ready_to_throw();
    if (guard_depth++ == 0) {
        texts.abort_message.clear();
    }
}

AbortGuard::~AbortGuard() {
    --guard_depth;
}

void AbortGuard::check() const {
    if (!texts.abort_message.empty()) {
        throw Aborted(texts.abort_message);
    }
}

}  // namespace tea::runtime
