#include "llama/model_header.hpp"

#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>

#include "ggml.h"
#include "gguf.h"
#include "llama.h"

namespace tea {

namespace {

struct gguf_deleter {
    void operator()(gguf_context* context) const { gguf_free(context); }
};
using gguf_ptr = std::unique_ptr<gguf_context, gguf_deleter>;

constexpr uint32_t max_layers = 512;  // LLAMA_MAX_LAYERS in src/llama-hparams.h

// The getters of gguf.h abort on a wrong type: ask first.
std::optional<uint32_t> get_u32(const gguf_context* header, const std::string& key) {
    const int64_t id = gguf_find_key(header, key.c_str());
    if (id < 0 || gguf_get_kv_type(header, id) != GGUF_TYPE_UINT32) {
        return std::nullopt;
    }
    return gguf_get_val_u32(header, id);
}

std::optional<float> get_f32(const gguf_context* header, const std::string& key) {
    const int64_t id = gguf_find_key(header, key.c_str());
    if (id < 0 || gguf_get_kv_type(header, id) != GGUF_TYPE_FLOAT32) {
        return std::nullopt;
    }
    return gguf_get_val_f32(header, id);
}

bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::string find_number_problem(const gguf_context* header, const std::string& arch) {
    if (const auto n_layers = get_u32(header, arch + ".block_count");
        n_layers && (*n_layers == 0 || *n_layers > max_layers)) {
        return arch + ".block_count is " + std::to_string(*n_layers) + ", allowed are 1 to " +
               std::to_string(max_layers);
    }
    // Rotary embedding turns pairs; where the file does not say how many numbers, it is a head's.
    const auto n_rotated = get_u32(header, arch + ".rope.dimension_count");
    const auto n_key = get_u32(header, arch + ".attention.key_length");
    const auto n_embd = get_u32(header, arch + ".embedding_length");
    const auto n_head = get_u32(header, arch + ".attention.head_count");
    const bool has_rope = get_f32(header, arch + ".rope.freq_base") || n_rotated;
    const uint32_t n_pairs = n_rotated                         ? *n_rotated
                             : n_key                           ? *n_key
                             : n_embd && n_head && *n_head > 0 ? *n_embd / *n_head
                                                               : 0;
    if (has_rope && n_pairs % 2 != 0) {
        return "its rotary embedding has an odd number of dimensions (" + std::to_string(n_pairs) + ")";
    }
    for (const char* name : {".attention.layer_norm_rms_epsilon", ".attention.layer_norm_epsilon"}) {
        if (const auto epsilon = get_f32(header, arch + name);
            epsilon && !(*epsilon >= 0 && std::isfinite(*epsilon))) {
            return arch + name + " is " + std::to_string(*epsilon) + ", which no norm can take";
        }
    }
    return {};
}

// Types that llama.cpp's kernels do not take as weights: it finds out in the middle of computing.
std::string find_tensor_problem(const gguf_context* header) {
    for (int64_t i = 0; i < gguf_get_n_tensors(header); ++i) {
        const std::string name = gguf_get_tensor_name(header, i);
        const ggml_type type = gguf_get_tensor_type(header, i);
        const bool is_table = ends_with(name, "tid2eid") || ends_with(name, "tid2eid.weight");
        const bool is_number = type == GGML_TYPE_I8 || type == GGML_TYPE_I16 || type == GGML_TYPE_I64 ||
                               type == GGML_TYPE_F64 || (type == GGML_TYPE_I32 && !is_table);
        if (is_number || (ends_with(name, "norm.weight") && type != GGML_TYPE_F32)) {
            return "its tensor " + name + " is of type " + ggml_type_name(type) +
                   ", which cannot be computed with";
        }
    }
    return {};
}

gguf_ptr read_header(const std::string& path) {
    return gguf_ptr(gguf_init_from_file(path.c_str(), {/*no_alloc=*/true, /*ctx=*/nullptr}));
}

uint16_t get_u16(const gguf_context* header, const char* key) {
    const int64_t id = gguf_find_key(header, key);
    return id >= 0 && gguf_get_kv_type(header, id) == GGUF_TYPE_UINT16 ? gguf_get_val_u16(header, id) : 0;
}

// The first of `n_parts` files is at `path`: the others must be beside it, with weights that can be used.
std::string find_part_problem(const std::string& path, int32_t n_parts) {
    std::string name(path.size() + 32, '\0');
    if (llama_split_prefix(name.data(), name.size(), path.c_str(), 0, n_parts) == 0) {
        return "it is the first of " + std::to_string(n_parts) +
               " parts, and its name does not end in -00001-of-0000N.gguf, as they all must";
    }
    const std::string prefix = name.c_str();
    for (int32_t part = 1; part < n_parts; ++part) {
        llama_split_path(name.data(), name.size(), prefix.c_str(), part, n_parts);
        const gguf_ptr header = read_header(name.c_str());
        if (!header) {
            return std::string("its part ") + name.c_str() + " is missing, or not a GGUF file";
        }
        const std::string problem = find_tensor_problem(header.get());
        if (!problem.empty()) {
            return problem;
        }
    }
    return {};
}

}  // namespace

std::string find_header_problem(const std::string& path, bool vocab_only) {
    const gguf_ptr header = read_header(path);
    if (!header) {
        return "it is not a GGUF file";
    }
    const int32_t n_parts = get_u16(header.get(), "split.count");
    if (n_parts > 1 && get_u16(header.get(), "split.no") > 0) {
        return "it is a later part of a model in " + std::to_string(n_parts) +
               " files: give the path of the first, which ends in -00001-of-0000N.gguf";
    }
    const int64_t arch_id = gguf_find_key(header.get(), "general.architecture");
    if (arch_id < 0 || gguf_get_kv_type(header.get(), arch_id) != GGUF_TYPE_STRING) {
        return "it does not name its architecture (general.architecture)";
    }
    if (std::string(gguf_get_val_str(header.get(), arch_id)) == "clip") {
        return "it is a projector for images or sounds (mmproj), which is no model by itself: give the path "
               "of the "
               "language model beside it";
    }
    if (vocab_only) {
        return {};
    }
    if (n_parts <= 1 && gguf_get_n_tensors(header.get()) == 0) {
        return "it holds no weights (a vocabulary alone?): Tokenizer can read it";
    }
    std::string problem = find_number_problem(header.get(), gguf_get_val_str(header.get(), arch_id));
    if (problem.empty()) {
        problem = find_tensor_problem(header.get());
    }
    return problem.empty() && n_parts > 1 ? find_part_problem(path, n_parts) : problem;
}

}  // namespace tea
