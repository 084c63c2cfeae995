#include "bindings/common.hpp"

#include <cmath>

#ifndef _WIN32
#include <pthread.h>
#endif

#include "llama/backend_modules.hpp"
#include "llama/log.hpp"
#include "llama/runtime.hpp"
#include "machine/machine.hpp"

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
                lines.append(py::make_tuple(static_cast<int>(line.level), to_str(line.text)));
            }
            return lines;
        },
        "(level, text) of what llama.cpp logged since the last call; levels are those of logging.");
    module.def(
        "n_without_gil", [] { return n_without_gil.load(); },
        "Threads that are in native code without the GIL just now.");
    module.def("usable_cores", &machine::usable_cores, "Threads that make sense for computing here.");
    module.def("set_backend_directories", &backend_modules::set_directories, py::arg("directories"),
               "Where modules with kernels are; before anything else is asked of llama.cpp.");
    module.def(
        "cpu_variants",
        [] {
            runtime::initialize();
            py::list variants;
            for (const auto& variant : backend_modules::cpu_variants()) {
                variants.append(py::make_tuple(variant.name, variant.score, variant.is_in_use));
            }
            return variants;
        },
        "(name, score, is_in_use) of the kernels for kinds of CPUs, the best first; score 0: not for this "
        "one.");
    module.def(
        "limits",
        [](const std::string& files) {
            const auto limits = machine::limits(files);
            py::dict values;
            values["n_cpus"] = limits.n_cpus;
            values["n_cpus_allowed"] = limits.n_cpus_allowed;
            values["n_physical_cores"] = limits.n_physical_cores;
            values["quota_cores"] =
                std::isinf(limits.quota_cores) ? py::none() : py::object(py::float_(limits.quota_cores));
            values["free_memory"] = limits.free_memory;
            values["free_group_memory"] = limits.free_group_memory;
            return values;
        },
        py::arg("files") = "",
        "What usable_cores() and the memory for a context are made of; -1: not known or no limit. `files`: "
        "where "
        "/proc and /sys are, for tests.");
    module.def(
        "devices",
        [] {
            py::list devices;
            for (const auto& device : runtime::devices()) {
                devices.append(py::make_tuple(device.name, device.description, device.memory_bytes));
            }
            return devices;
        },
        "(name, description, bytes of memory) of what can compute.");
    module.def("system_info", &runtime::system_info,
               "llama.cpp's line about the CPU features its kernels use.");
}

}  // namespace tea::bindings
