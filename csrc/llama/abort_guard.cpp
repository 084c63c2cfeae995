#include "llama/abort_guard.hpp"

#include <cstdlib>

#include "base/error.hpp"
#include "ggml.h"

namespace tea::runtime {

namespace {

thread_local int guard_depth = 0;

// Static destructors run after those of a thread's own objects: only a flag without a destructor can say that
// the message is gone.
thread_local bool message_is_gone = false;
struct AbortMessage {
    ~AbortMessage() { message_is_gone = true; }

    std::string text;  // empty: no abort was hit on this thread
};
thread_local AbortMessage message;

#if defined(__GNUC__)
// ggml forks a debugger for a backtrace when it aborts, and decides on that in a static initializer:
// this must run before it. 101 is the first priority open to programs.
__attribute__((constructor(101))) void disable_ggml_backtrace() {
    setenv("GGML_NO_BACKTRACE", "1", 0);
}
#endif

// On any thread. Where nobody catches it, on llama.cpp's own threads, it ends the process, as ggml_abort()
// would.
void on_abort(const char* text) {
    if (!message_is_gone) {
        message.text = text;
    }
    throw Aborted(text);
}

}  // namespace

void catch_aborts() {
    ggml_set_abort_callback(on_abort);
}

AbortGuard::AbortGuard() {
    be_ready_to_throw();
    if (guard_depth++ == 0) {
        message.text.clear();
    }
}

AbortGuard::~AbortGuard() {
    --guard_depth;
}

void AbortGuard::check() const {
    if (!message.text.empty()) {
        throw Aborted(message.text);
    }
}

}  // namespace tea::runtime
