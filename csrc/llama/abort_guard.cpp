#include "llama/abort_guard.hpp"

#include <cstdlib>
#include <exception>
#include <new>
#include <utility>

#include "base/error.hpp"
#include "ggml.h"

namespace tea::runtime {

namespace {

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
    throw Aborted(ErrorKind::inference, text);
}

std::string joined(std::string_view failure, const char* reason) {
    return std::string(failure) + ": " + reason;
}

}  // namespace

void catch_aborts() {
    ggml_set_abort_callback(on_abort);
}

Guard::Guard() {
    be_ready_to_throw();
    std::swap(outer_message_, message.text);
}

Guard::~Guard() {
    std::swap(outer_message_, message.text);
}

void Guard::check() const {
    if (!message.text.empty()) {
        throw Aborted(ErrorKind::inference, message.text);
    }
}

void rethrow_typed(ErrorKind kind, std::string_view failure) {
    try {
        throw;
    } catch (const Aborted& abort) {
        throw Aborted(kind, joined(failure, abort.what()));
    } catch (const Error&) {
        throw;
    } catch (const std::bad_alloc&) {
        throw Error(kind, joined(failure, "there is not enough memory"));
    } catch (const std::exception& error) {
        throw Error(kind, joined(failure, error.what()));
    }
}

void fail_assertion() {
    guarded(ErrorKind::inference, "llama.cpp gave up",
            [](const Guard&) { GGML_ABORT("GGML_ASSERT on purpose"); });
}

}  // namespace tea::runtime
