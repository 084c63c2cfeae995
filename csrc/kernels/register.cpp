// The kernels are compiled as a part of ggml's CPU backend, with the flags of each of its variants, and
// reached through what ggml has for accelerators (ggml-cpu/traits.h): an operator that such a "buffer type"
// declines is computed as ever.

#include "kernels/register.hpp"

#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/attention.hpp"
#include "kernels/cell_order.hpp"
#include "kernels/gelu.hpp"
#include "kernels/ggml_cpu.hpp"
#include "kernels/lanes.hpp"
#include "kernels/products.hpp"

namespace tea::kernels {

namespace {

// TEA_LLM_GGML_KERNELS names families whose operators ggml's kernels compute ("products,gelu"), to compare;
// any other value means all of them.
bool is_left_to_ggml(const std::string& family) {
    const char* value = std::getenv("TEA_LLM_GGML_KERNELS");
    if (value == nullptr) {
        return false;
    }
    bool is_named = false;
    std::stringstream names(value);
    for (std::string name; std::getline(names, name, ',');) {
        if (name != "products" && name != "attention" && name != "gelu") {
            return true;
        }
        is_named = is_named || name == family;
    }
    return is_named;
}

bool has_products() {
#if defined(TEA_LANES) && !defined(__AMX_INT8__)
    return !is_left_to_ggml("products");
#else
    return false;
#endif
}

// No tensor lives in it.
class BufferType : public ggml::cpu::extra_buffer_type {
  public:
    bool supports_op(ggml_backend_dev_t /*device*/, const ggml_tensor* /*op*/) override { return false; }
    ggml::cpu::tensor_traits* get_tensor_traits(const ggml_tensor* op) override {
        switch (op->op) {
            case GGML_OP_FLASH_ATTN_EXT:
                return has_attention_ ? attention_traits() : nullptr;
            case GGML_OP_SET_ROWS:
                return has_attention_ ? cell_order_traits() : nullptr;
            case GGML_OP_MUL_MAT:
            case GGML_OP_MUL_MAT_ID:
                return has_products_ ? product_traits() : nullptr;
            case GGML_OP_UNARY:
                return has_gelu_ ? gelu_traits() : nullptr;
            default:
                return nullptr;
        }
    }

  private:
    const bool has_attention_ = !is_left_to_ggml("attention");
    const bool has_products_ = !is_left_to_ggml("products");
    const bool has_gelu_ = !is_left_to_ggml("gelu");
};

const char* name_of(ggml_backend_buffer_type_t /*type*/) {
    return "tea-kernels";
}

ggml_backend_buffer_t allocate_nothing(ggml_backend_buffer_type_t /*type*/, size_t /*n_bytes*/) {
    return nullptr;
}

size_t alignment_of(ggml_backend_buffer_type_t /*type*/) {
    return 64;
}

bool multiplies_named(const char* name) {
    for (int i = 0; i < GGML_TYPE_COUNT; ++i) {
        const auto type = static_cast<ggml_type>(i);
        if (ggml_type_name(type) != nullptr && std::strcmp(ggml_type_name(type), name) == 0) {
            return has_products() && multiplies(type);
        }
    }
    return false;
}

void begin_copying_cells(const uint32_t* ranks, size_t n) {
    begin_copying({ranks, ranks + n});
}

void give_ranks_of_read(void (*take)(void*, const uint32_t*, size_t), void* user_data) {
    const std::vector<uint32_t> ranks = ranks_of_read();
    take(user_data, ranks.data(), ranks.size());
}

TeaKernels register_kernels() {
    auto* type =
        new ggml_backend_buffer_type{};  // never freed: ggml keeps the pointer until the process ends
    type->iface.get_name = name_of;
    type->iface.alloc_buffer = allocate_nothing;
    type->iface.get_alignment = alignment_of;
    type->context = new BufferType;
    ggml_backend_cpu_get_extra_buffer_types().push_back(type);
    const bool attends = attention_traits() != nullptr && !is_left_to_ggml("attention");
    if (attends) {
        watch_cpu_buffers();
    }
    return {has_products(), attends, multiplies_named, begin_copying_cells, give_ranks_of_read, end_copying};
}

}  // namespace

}  // namespace tea::kernels

const TeaKernels* tea_register_kernels() {
    static const TeaKernels kernels = tea::kernels::register_kernels();
    return &kernels;
}
