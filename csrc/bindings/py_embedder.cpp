#include "bindings/common.hpp"

#include <pybind11/numpy.h>

#include <memory>
#include <vector>

#include "engine/embedder.hpp"

namespace tea::bindings {

void register_embedder(py::module_& module) {
    py::class_<Embedder>(module, "Embedder", "One vector for each text. Safe to use from any thread.")
        .def(py::init([](std::shared_ptr<Model> model, int32_t n_threads) {
                 return std::make_unique<Embedder>(std::move(model), n_threads);
             }),
             py::arg("model"), py::kw_only(), py::arg("n_threads"))
        .def(
            "embed",
            [](Embedder& self, const std::vector<std::vector<int32_t>>& texts) {
                py::array_t<float> vectors(
                    {static_cast<py::ssize_t>(texts.size()), py::ssize_t{self.n_embd()}});
                float* data = vectors.mutable_data();
                {
                    const GilRelease released;
                    self.embed(texts, data);
                }
                return vectors;
            },
            py::arg("texts"), "float32 (n, n_embd), not normalized, from lists of token ids.")
        .def("close", &Embedder::close, py::call_guard<GilRelease>())
        .def_property_readonly("n_embd", &Embedder::n_embd)
        .def_property_readonly("n_longest", &Embedder::n_longest);
}

}  // namespace tea::bindings
