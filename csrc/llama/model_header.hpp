#pragma once

#include <string>

namespace tea {

// Looks at a GGUF file's header for what is known to end the process inside llama.cpp, at load or, on a
// worker thread where no guard reaches, in the first decode. Returns what is wrong; empty: nothing known.
// llama.cpp logs its own reason for files that are not GGUF at all.
std::string find_header_problem(const std::string& path, bool vocab_only);

}  // namespace tea
