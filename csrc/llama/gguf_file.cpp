#include "llama/gguf_file.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "ggml-cpp.h"
#include "ggml.h"
#include "gguf.h"
#include "llama/abort_guard.hpp"
#include "llama/log.hpp"
#include "llama/runtime.hpp"

namespace tea {

namespace {

constexpr size_t max_list_length = 1024;  // a number for each layer

// The number at `data`, of any of GGUF's integer types.
int64_t integer(gguf_type type, const void* data, size_t index) {
    switch (type) {
        case GGUF_TYPE_UINT8:
            return static_cast<const uint8_t*>(data)[index];
        case GGUF_TYPE_INT8:
        case GGUF_TYPE_BOOL:
            return static_cast<const int8_t*>(data)[index];
        case GGUF_TYPE_UINT16:
            return static_cast<const uint16_t*>(data)[index];
        case GGUF_TYPE_INT16:
            return static_cast<const int16_t*>(data)[index];
        case GGUF_TYPE_UINT32:
            return static_cast<const uint32_t*>(data)[index];
        case GGUF_TYPE_INT32:
            return static_cast<const int32_t*>(data)[index];
        case GGUF_TYPE_UINT64:
            return static_cast<int64_t>(static_cast<const uint64_t*>(data)[index]);
        default:
            return static_cast<const int64_t*>(data)[index];
    }
}

bool is_integer(gguf_type type) {
    return type != GGUF_TYPE_FLOAT32 && type != GGUF_TYPE_FLOAT64 && type != GGUF_TYPE_STRING &&
           type != GGUF_TYPE_ARRAY;
}

GgufValue array_of(const gguf_context* file, int64_t key) {
    const gguf_type type = gguf_get_arr_type(file, key);
    const size_t n = gguf_get_arr_n(file, key);
    if (!is_integer(type) || n > max_list_length) {
        return GgufArray{gguf_type_name(type), n};
    }
    std::vector<int64_t> values;
    values.reserve(n);
    for (size_t i = 0; i < n; ++i) {
        values.push_back(integer(type, gguf_get_arr_data(file, key), i));
    }
    return values;
}

GgufValue value_of(const gguf_context* file, int64_t key) {
    switch (const gguf_type type = gguf_get_kv_type(file, key); type) {
        case GGUF_TYPE_STRING:
            return std::string(gguf_get_val_str(file, key));
        case GGUF_TYPE_ARRAY:
            return array_of(file, key);
        case GGUF_TYPE_FLOAT32:
            return double{gguf_get_val_f32(file, key)};
        case GGUF_TYPE_FLOAT64:
            return gguf_get_val_f64(file, key);
        case GGUF_TYPE_BOOL:
            return gguf_get_val_bool(file, key);
        default:
            return integer(type, gguf_get_val_data(file, key), 0);
    }
}

GgufFile read(const std::string& path) {
    const runtime::LogCapture log;
    ggml_context* tensors = nullptr;
    const gguf_context_ptr file(gguf_init_from_file(path.c_str(), {/*no_alloc=*/true, &tensors}));
    const ggml_context_ptr owner(tensors);
    if (!file) {
        throw Error(ErrorKind::model_load,
                    path + " cannot be read: " + log.last_lines("it is not a GGUF file"));
    }
    GgufFile content;
    size_t n_data = 0;
    for (int64_t i = 0; i < gguf_get_n_tensors(file.get()); ++i) {
        n_data =
            std::max(n_data, gguf_get_tensor_offset(file.get(), i) + gguf_get_tensor_size(file.get(), i));
    }
    content.size_bytes = static_cast<int64_t>(gguf_get_data_offset(file.get()) + n_data);
    for (int64_t key = 0; key < gguf_get_n_kv(file.get()); ++key) {
        content.metadata.emplace_back(gguf_get_key(file.get(), key), value_of(file.get(), key));
    }
    for (ggml_tensor* tensor = ggml_get_first_tensor(tensors); tensor != nullptr;
         tensor = ggml_get_next_tensor(tensors, tensor)) {
        GgufTensor described{
            tensor->name, ggml_type_name(tensor->type), {}, static_cast<int64_t>(ggml_nbytes(tensor))};
        for (int i = 0; i < ggml_n_dims(tensor); ++i) {
            described.shape.push_back(tensor->ne[i]);
        }
        content.tensors.push_back(std::move(described));
    }
    return content;
}

}  // namespace

GgufFile read_gguf(const std::string& path) {
    runtime::initialize();
    return runtime::guarded(ErrorKind::model_load, path + " cannot be read: llama.cpp gave up on it",
                            [&](const runtime::Guard&) { return read(path); });
}

}  // namespace tea
