// The kernels are compiled as a part of ggml's CPU backend, with the flags of each of its variants, and
// reached through what ggml has for accelerators (ggml-cpu/traits.h): an operator that such a "buffer type"
// declines is computed as ever.

#include "kernels/register.hpp"

#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>

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

}  // namespace

}  // namespace tea::kernels

bool tea_register_kernels() {
    using namespace tea::kernels;
    [[maybe_unused]] static const bool is_registered = [] {
        auto* type =
            new ggml_backend_buffer_type{};  // never freed: ggml keeps the pointer until the process ends
        type->iface.get_name = name_of;
        type->iface.alloc_buffer = allocate_nothing;
        type->iface.get_alignment = alignment_of;
        type->context = new BufferType;
        ggml_backend_cpu_get_extra_buffer_types().push_back(type);
        return true;
    }();
    return has_products();
}

bool tea_attends() {
    return tea::kernels::attention_traits() != nullptr && !tea::kernels::is_left_to_ggml("attention");
}

bool tea_multiplies(const char* type) {
    for (int i = 0; i < GGML_TYPE_COUNT; ++i) {
        const auto known = static_cast<ggml_type>(i);
        if (ggml_type_name(known) != nullptr && std::strcmp(ggml_type_name(known), type) == 0) {
            return tea::kernels::has_products() && tea::kernels::multiplies(known);
        }
    }
    return false;
}
