#include "bindings/common.hpp"

// Everything below is safe to use from many threads at once, with a GIL or without one.
PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
    module.doc() = "The native engine of tea-llm. Private: use the names in tea_llm.";
    tea::bindings::register_errors(module);
    tea::bindings::register_runtime(module);
    tea::bindings::register_model(module);
    tea::bindings::register_chat_format(module);
    tea::bindings::register_request(module);
    tea::bindings::register_engine(module);
    tea::bindings::register_embedder(module);
    tea::bindings::register_files(module);
}
