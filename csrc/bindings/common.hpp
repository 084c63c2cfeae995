#pragma once

// Included first by every file of the binding.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

namespace tea::bindings {

namespace py = pybind11;

// Each defines one room of the module, in its own file.
void register_errors(py::module_& module);
void register_runtime(py::module_& module);
void register_model(py::module_& module);
void register_chat_format(py::module_& module);
void register_request(py::module_& module);
void register_engine(py::module_& module);
void register_embedder(py::module_& module);
void register_files(py::module_& module);

// Texts that come from model files, also in errors and in the log, are not always UTF-8.
inline py::str to_str(const std::string& text) {
    return py::reinterpret_steal<py::str>(
        PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

inline bool is_finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing() != 0;
#else
    return _Py_IsFinalizing() != 0;
#endif
}

// Threads that are inside native code without the GIL.
inline std::atomic<int> n_without_gil{0};

// Releases the GIL for a scope. Unlike py::gil_scoped_release it survives the end of the interpreter:
// taking the GIL then ends the thread by unwinding, which kills the process inside a destructor
// (CPython < 3.14), so a thread that comes too late sleeps until the process is gone.
class GilRelease {
  public:
    GilRelease() {
        if (is_finalizing()) {
            return;  // this thread is the one that ends the interpreter: nobody else needs the GIL
        }
        n_without_gil.fetch_add(1);
        state_ = PyEval_SaveThread();
    }
    ~GilRelease() {
        if (state_ == nullptr) {
            return;
        }
        while (is_finalizing()) {
            std::this_thread::sleep_for(std::chrono::hours(1));
        }
        PyEval_RestoreThread(state_);
        n_without_gil.fetch_sub(1);
    }
    GilRelease(const GilRelease&) = delete;
    GilRelease& operator=(const GilRelease&) = delete;

  private:
    PyThreadState* state_ = nullptr;
};

// Blocks without the GIL until `wait(slice)` returns true. Between slices looks after signals and calls
// `on_slice()`; when either raises (Ctrl-C), calls `on_interrupt()` and throws that.
template <typename Wait, typename OnInterrupt, typename OnSlice>
void wait_interruptibly(Wait wait, OnInterrupt on_interrupt, OnSlice on_slice) {
    constexpr std::chrono::milliseconds slice{50};
    for (;;) {
        {
            const GilRelease released;
            if (wait(slice)) {
                return;
            }
        }
        try {
            if (PyErr_CheckSignals() != 0) {
                throw py::error_already_set();
            }
            on_slice();
        } catch (...) {
            on_interrupt();
            throw;
        }
    }
}

template <typename Wait, typename OnInterrupt>
void wait_interruptibly(Wait wait, OnInterrupt on_interrupt) {
    wait_interruptibly(wait, on_interrupt, [] {});
}

}  // namespace tea::bindings
