#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/error.hpp"

// The one way into llama.cpp. Its objects give their pointers to a Guard only (llama/handle.hpp), and only
// guarded() makes one: so each call that takes such a pointer is inside of guarded().

namespace tea::runtime {

// GGML_ABORT and GGML_ASSERT throw this instead of ending the process, on every thread of the engine.
// The objects in use are in an unknown state: they must be leaked and never used again.
class Aborted : public Error {
  public:
    using Error::Error;
};

// Aborts of ggml throw Aborted from now on.
void catch_aborts();

// Proof that the code is inside of guarded().
class Guard {
  public:
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

    // llama.cpp may swallow Aborted (it catches std::exception here and there): throws it again when an abort
    // was hit since construction.
    void check() const;

  private:
    template <typename Work>
    friend auto guarded(ErrorKind kind, std::string_view failure, Work&& work);

    Guard();
    ~Guard();

    std::string outer_message_;  // of an abort that the guard around this one has to tell of
};

// Throws the exception that is being handled as Aborted or Error with `kind` and "FAILURE: message"; an Error
// that is no Aborted keeps its kind and message.
[[noreturn]] void rethrow_typed(ErrorKind kind, std::string_view failure);

// Runs work(guard), which may call llama.cpp and ggml. Throws Aborted for an abort, also for one that
// llama.cpp swallowed, and Error for any other exception.
template <typename Work>
auto guarded(ErrorKind kind, std::string_view failure, Work&& work) {
    try {
        const Guard guard;
        if constexpr (std::is_void_v<std::invoke_result_t<Work, const Guard&>>) {
            std::forward<Work>(work)(guard);
            guard.check();
        } else {
            auto result = std::forward<Work>(work)(guard);
            guard.check();
            return result;
        }
    } catch (...) {
        rethrow_typed(kind, failure);
    }
}

// For tests: fails one of ggml's assertions.
void fail_assertion();

}  // namespace tea::runtime
