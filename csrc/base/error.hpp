#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>

namespace tea {

// Kinds of errors, in terms a caller can act on. bindings/py_errors.cpp maps each to a Python class.
enum class ErrorKind {
    invalid_argument,
    config,
    backend_unavailable,
    model_load,
    inference,
    context_overflow,
    timeout,
    cancelled,
    engine_closed,
    engine_forked,
    embedding_not_supported,
    grammar,
    chat_template,
};

// The only exception type that leaves the engine.
class Error : public std::runtime_error {
  public:
    Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind(kind) {}

    ErrorKind kind;
    int64_t n_prompt = 0;  // context_overflow only
    int64_t n_ctx = 0;     // context_overflow only
    // timeout only: the text so far. Shared, so that copying an error cannot throw another.
    std::shared_ptr<const std::string> partial;
};

// Logits or scores are NaN or infinite. So may be what the request left in the memory.
class NotFinite : public Error {
  public:
    explicit NotFinite(const std::string& message) : Error(ErrorKind::inference, message) {}
};

// The system starts no thread for `purpose`. `reason`: its own words.
inline Error no_thread(ErrorKind kind, const std::string& purpose, const std::string& reason) {
    return Error(kind,
                 "no thread could be started " + purpose + " (" + reason +
                     "): the limit on threads (ulimit -u, a container's pids limit) or on memory is reached");
}

// Has the memory ready that a thread's first exception takes: the C library ends the process when it cannot
// be had, as may be when the exception is std::bad_alloc. Each thread calls it when it starts.
inline void be_ready_to_throw() {
    volatile int n = std::uncaught_exceptions();  // volatile: or the call is left out
    (void)n;
}

}  // namespace tea
