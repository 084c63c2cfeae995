#include "base/error.hpp"
#include "bindings/common.hpp"

#include <pybind11/numpy.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/embedder.hpp"

namespace tea::bindings {

namespace {

Pooling pooling_of(const std::string& name) {
    constexpr std::array<std::pair<const char*, Pooling>, 6> names{{{"", Pooling::from_model},
                                                                    {"none", Pooling::none},
                                                                    {"mean", Pooling::mean},
                                                                    {"cls", Pooling::cls},
                                                                    {"last", Pooling::last},
                                                                    {"rank", Pooling::rank}}};
    for (const auto& [known, pooling] : names) {
        if (name == known) {
            return pooling;
        }
    }
    throw Error(ErrorKind::invalid_argument, "unknown pooling " + name);
}

size_t n_rows_of(const Embedder& embedder, const Texts& texts) {
    size_t n_rows = texts.size();
    if (embedder.gives_tokens()) {
        n_rows = 0;
        for (const auto& text : texts) {
            n_rows += text.size();
        }
    }
    return n_rows;
}

}  // namespace

void register_embedder(py::module_& module) {
    py::class_<Embedder>(module, "Embedder", "Vectors of texts. Safe to use from any thread.")
        .def(py::init([](std::shared_ptr<Model> model, int32_t n_threads, bool adapts_threads,
                         const std::string& pooling) {
                 return std::make_unique<Embedder>(std::move(model), n_threads, adapts_threads,
                                                   pooling_of(pooling));
             }),
             py::arg("model"), py::kw_only(), py::arg("n_threads"), py::arg("adapts_threads"),
             py::arg("pooling"))
        .def(
            "embed",
            [](Embedder& self, const Texts& texts, py::array_t<float, py::array::c_style> out,
               const py::object& between_steps) {
                const auto n_rows = static_cast<py::ssize_t>(n_rows_of(self, texts));
                if (out.ndim() != 2 || out.shape(0) != n_rows || out.shape(1) != self.n_out()) {
                    throw Error(ErrorKind::invalid_argument, "out must be (" + std::to_string(n_rows) + ", " +
                                                                 std::to_string(self.n_out()) + ")");
                }
                float* data = out.mutable_data();
                std::optional<GilRelease> released(std::in_place);
                self.embed(texts, data, [&] {
                    released.reset();
                    if (PyErr_CheckSignals() != 0) {
                        throw py::error_already_set();
                    }
                    if (!between_steps.is_none()) {
                        between_steps();
                    }
                    released.emplace();
                });
            },
            py::arg("texts"), py::arg("out").noconvert(), py::arg("between_steps") = py::none(),
            "Fills float32 (texts, n_out), or (tokens, n_out) without pooling, from lists of token ids. Not "
            "normalized. between_steps is called now and then, and may raise.")
        .def("close", &Embedder::close, py::call_guard<GilRelease>())
        .def_property_readonly("n_out", &Embedder::n_out)
        .def_property_readonly("n_longest", &Embedder::n_longest);
}

}  // namespace tea::bindings
