#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace tea {

// A list of metadata that is too long to be shown: a vocabulary's tokens, say.
struct GgufArray {
    std::string type;
    uint64_t n;
};

using GgufValue = std::variant<int64_t, double, bool, std::string, std::vector<int64_t>, GgufArray>;

struct GgufTensor {
    std::string name;
    std::string type;
    std::vector<int64_t> shape;
    int64_t n_bytes;
};

struct GgufFile {
    std::vector<std::pair<std::string, GgufValue>> metadata;
    std::vector<GgufTensor> tensors;
    int64_t size_bytes = 0;  // of the whole file, as its header has it: a file that is cut off is smaller
};

// The header of a GGUF file; its weights are not read. Throws Error{model_load}.
GgufFile read_gguf(const std::string& path);

}  // namespace tea
