#pragma once

#include <exception>
#include <string>
#include <utility>

namespace tea::runtime {

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

// Aborts of ggml throw Aborted from now on.
void catch_aborts();

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
