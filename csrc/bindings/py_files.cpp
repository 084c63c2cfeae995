#include "bindings/common.hpp"
#include "llama/gguf_file.hpp"
#include "llama/quantizer.hpp"

namespace tea::bindings {

namespace {

py::object to_python(const GgufValue& value) {
    if (const auto* text = std::get_if<std::string>(&value)) {
        return to_str(*text);
    }
    if (const auto* array = std::get_if<GgufArray>(&value)) {
        return py::make_tuple(array->type, array->n);
    }
    if (const auto* list = std::get_if<std::vector<int64_t>>(&value)) {
        return py::cast(*list);
    }
    if (const auto* number = std::get_if<int64_t>(&value)) {
        return py::int_(*number);
    }
    if (const auto* number = std::get_if<double>(&value)) {
        return py::float_(*number);
    }
    return py::bool_(std::get<bool>(value));
}

py::tuple describe(const std::string& path) {
    GgufFile file;
    {
        const GilRelease released;
        file = read_gguf(path);
    }
    py::dict metadata;
    for (const auto& [key, value] : file.metadata) {
        metadata[to_str(key)] = to_python(value);
    }
    py::list tensors;
    for (const auto& tensor : file.tensors) {
        tensors.append(py::make_tuple(to_str(tensor.name), tensor.type, tensor.shape, tensor.n_bytes));
    }
    return py::make_tuple(metadata, tensors, file.size_bytes);
}

}  // namespace

void register_files(py::module_& module) {
    module.def("read_gguf", &describe, py::arg("path"),
               "(metadata, [(name, type, shape, bytes) of each tensor], bytes that the file must have); a "
               "long list is "
               "(type, length).");
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
}

}  // namespace tea::bindings
