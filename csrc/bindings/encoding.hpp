#pragma once

#include "bindings/common.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "llama/model.hpp"

namespace tea::bindings {

// `tokenizer::encode`. llama.cpp cannot be stopped inside a text: a long one gets a thread, and while that
// works, signals are looked after and `check` (a function, or None) is called, every 50 ms. What either
// raises is thrown, and the thread is left to end by itself.
std::vector<int32_t> encode_interruptibly(std::shared_ptr<const Model> model, std::string text,
                                          bool add_special, bool parse_special, const py::object& check);

// Has the interpreter wait at its end for threads that were left: they read tables that exit() destroys.
void await_encodings_at_exit();

}  // namespace tea::bindings
