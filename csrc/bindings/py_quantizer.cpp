#include "bindings/common.hpp"
#include "engine/quantizer.hpp"

namespace tea::bindings {

void register_quantizer(py::module_& module) {
    module.def(
        "file_types",
        [] {
            py::list list;
            for (const auto& type : file_types()) {
                list.append(py::make_tuple(type.name, type.bits_per_weight));
            }
            return list;
        },
        "(name, about how many bits a weight takes) of what quantize() can make, the largest first.");
    module.def(
        "quantize",
        [](const std::string& source, const std::string& target, const std::string& type, int32_t n_threads,
           bool requantizes) {
            const GilRelease released;
            quantize(source, target, type, n_threads, requantizes);
        },
        py::arg("source"), py::arg("target"), py::kw_only(), py::arg("type"), py::arg("n_threads") = 0,
        py::arg("requantizes") = false, "Cannot be interrupted: for a process of its own.");
}

}  // namespace tea::bindings
