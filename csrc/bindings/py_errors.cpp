#include "bindings/common.hpp"

#include <array>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "base/error.hpp"
#include "llama/abort_guard.hpp"
#include "llama/runtime.hpp"

namespace tea::bindings {

namespace {

// Every ErrorKind and the Python class it becomes; ValueError is the builtin, the others are in
// tea_llm.errors. A test fails when a kind is missing.
constexpr std::array<std::pair<ErrorKind, const char*>, 13> class_names{{
    {ErrorKind::invalid_argument, "ValueError"},
    {ErrorKind::config, "ConfigError"},
    {ErrorKind::backend_unavailable, "LocalBackendUnavailableError"},
    {ErrorKind::model_load, "ModelLoadError"},
    {ErrorKind::inference, "InferenceError"},
    {ErrorKind::context_overflow, "ContextOverflowError"},
    {ErrorKind::timeout, "GenerationTimeoutError"},
    {ErrorKind::cancelled, "GenerationCancelledError"},
    {ErrorKind::engine_closed, "EngineClosedError"},
    {ErrorKind::engine_forked, "EngineForkedError"},
    {ErrorKind::embedding_not_supported, "EmbeddingNotSupportedError"},
    {ErrorKind::grammar, "GrammarError"},
    {ErrorKind::chat_template, "TemplateError"},
}};

const char* class_name(ErrorKind kind) {
    for (const auto& [known, name] : class_names) {
        if (known == kind) {
            return name;
        }
    }
    return "InferenceError";
}

void set_python_error(const Error& error) {
    const py::str message = to_str(error.what());
    if (error.kind == ErrorKind::invalid_argument) {
        py::set_error(PyExc_ValueError, message);
        return;
    }
    const py::object type = py::module_::import("tea_llm.errors").attr(class_name(error.kind));
    py::object instance;
    if (error.kind == ErrorKind::context_overflow) {
        instance = type(message, error.n_prompt, error.n_ctx);
    } else if (error.kind == ErrorKind::timeout) {
        instance = type(message, error.partial ? *error.partial : "");
    } else {
        instance = type(message);
    }
    py::set_error(type, instance);
}

// The message for an exception that the engine does not expect.
std::string describe(const std::exception& error) {
    if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
        return "there is not enough memory";
    }
    if (dynamic_cast<const std::system_error*>(&error) != nullptr) {  // a thread, a pipe
        return std::string("the system refused what the engine needs (a thread, memory, a file): ") +
               error.what();
    }
    return error.what();
}

}  // namespace

void register_errors(py::module_& module) {
    py::register_local_exception_translator([](std::exception_ptr pointer) {
        try {
            if (pointer) {
                std::rethrow_exception(std::move(pointer));
            }
        } catch (const Error& error) {
            set_python_error(error);
        } catch (const py::error_already_set&) {
            throw;
        } catch (const py::builtin_exception&) {  // pybind11's own: a wrong type of argument, say
            throw;
        } catch (const std::exception& error) {
            set_python_error(Error(ErrorKind::inference, describe(error)));
        }
    });
    // For the test that every kind arrives as its class.
    module.def(
        "_raise_error", [](int kind) { throw Error(static_cast<ErrorKind>(kind), "raised on purpose"); },
        py::arg("kind"));
    // For the test that what the engine did not expect arrives as an InferenceError.
    module.def(
        "_raise_foreign",
        [](const std::string& kind) {
            if (kind == "memory") {
                throw std::bad_alloc();
            }
            if (kind == "thread") {
                throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
            }
            if (kind == "assert") {
                runtime::initialize();
                runtime::fail_assertion();
            }
            throw std::out_of_range(kind);
        },
        py::arg("kind"));
    module.def("_error_classes", [] {
        py::list names;
        for (const auto& [kind, name] : class_names) {
            names.append(py::make_tuple(static_cast<int>(kind), name));
        }
        return names;
    });
    module.attr("_N_ERROR_KINDS") = static_cast<int>(ErrorKind::chat_template) + 1;
}

}  // namespace tea::bindings
