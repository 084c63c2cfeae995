#ifndef _WIN32
#include "bindings/common.hpp"

#include <pthread.h>
#endif

#include "engine/machine.hpp"
#include "engine/runtime.hpp"
#include "llama.h"

namespace tea::bindings {

void register_runtime(py::module_& module) {
#ifndef _WIN32
    pthread_atfork(nullptr, nullptr, [] { n_without_gil = 0; });  // those threads are the parent's
#endif
    module.def(
        "take_log_lines",
        [] {
            py::list lines;
            for (const auto& line : runtime::take_log_lines()) {
                // llama.cpp logs parts of model files: not always UTF-8.
                lines.append(py::make_tuple(
                    line.level,
                    py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(
                        line.text.data(), static_cast<Py_ssize_t>(line.text.size()), "replace"))));
            }
            return lines;
        },
        "(level, text) of what llama.cpp logged since the last call; levels are those of logging.");
    module.def(
        "n_without_gil", [] { return n_without_gil.load(); },
        "Threads that are in native code without the GIL just now.");
    module.def("usable_cores", &machine::usable_cores, "Threads that make sense for computing here.");
    module.def(
        "system_info",
        [] {
            runtime::initialize();
            return std::string(llama_print_system_info());
        },
        "llama.cpp's line about the CPU features its kernels use.");
}

}  // namespace tea::bindings
