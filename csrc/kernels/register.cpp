// The kernels are compiled as a part of ggml's CPU backend, with the flags of each of its variants, and
// reached through what ggml has for accelerators (ggml-cpu/traits.h): an operator that such a "buffer type"
// declines is computed as ever.

#include "kernels/register.hpp"

#include <cstdlib>

#include "kernels/attention.hpp"
#include "kernels/gelu.hpp"
#include "kernels/ggml_cpu.hpp"
#include "kernels/products.hpp"

namespace tea::kernels {

namespace {

// No tensor lives in it.
class BufferType : public ggml::cpu::extra_buffer_type {
  public:
    bool supports_op(ggml_backend_dev_t /*device*/, const ggml_tensor* /*op*/) override { return false; }
    ggml::cpu::tensor_traits* get_tensor_traits(const ggml_tensor* op) override {
        switch (op->op) {
            case GGML_OP_FLASH_ATTN_EXT:
                return attention_traits();
            case GGML_OP_MUL_MAT:
                return product_traits();
            case GGML_OP_UNARY:
                return gelu_traits();
            default:
                return nullptr;
        }
    }
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

void tea_register_kernels() {
    using namespace tea::kernels;
    // Never freed: ggml keeps the pointer until the process ends.
    static const auto* const type = []() -> ggml_backend_buffer_type* {
        if (std::getenv("TEA_LLM_GGML_KERNELS") != nullptr) {  // to compare
            return nullptr;
        }
        auto* made = new ggml_backend_buffer_type{};
        made->iface.get_name = name_of;
        made->iface.alloc_buffer = allocate_nothing;
        made->iface.get_alignment = alignment_of;
        made->context = new BufferType;
        ggml_backend_cpu_get_extra_buffer_types().push_back(made);
        return made;
    }();
    (void)type;
}
