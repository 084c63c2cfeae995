#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tea {

// A kind of model file: how most of its weights are kept.
struct FileType {
    const char* name;
    double bits_per_weight;  // about, of a usual model
    int32_t llama_ftype;
};

// Those that need no importance matrix, the largest first.
const std::vector<FileType>& file_types();

// Writes a model file of another type. `n_threads`: 0: all cores. `requantizes`: also from a quantized file,
// which loses more than from the original. Blocks until it is done, and cannot be interrupted. Throws
// Error{invalid_argument} for an unknown type and Error{model_load} when llama.cpp cannot do it.
void quantize(const std::string& source, const std::string& target, const std::string& type,
              int32_t n_threads, bool requantizes);

}  // namespace tea
