// GELU in its tanh approximation, which is ggml's, too; but ggml looks it up in a table in half precision.

#include "kernels/gelu.hpp"

#include <algorithm>
#include <cstdint>

#include "kernels/lanes.hpp"

namespace tea::kernels {

#ifdef TEA_LANES

namespace {

using namespace lanes;

// x / 2 * (1 + tanh(y)) is x / (1 + exp(-2 y))
Floats gelu(Floats number) {
    const Floats x =
        maximum(every(-100), number);  // below -100 GELU is 0; maximum() of NaN gives the second argument
    constexpr float factor = -2 * 0.79788456F;  // -2 * sqrt(2 / pi)
    const Floats cubic = multiply_add(multiply(x, x), every(factor * 0.044715F), every(factor));
    return divide(x, add(every(1), exp(multiply(x, cubic))));
}

void gelu_row(const float* from, int64_t n, float* to) {
    for (int64_t i = 0; i < n; i += n_lanes) {
        const int64_t n_left = std::min(n - i, n_lanes);
        store_first(to + i, n_left, gelu(load_first(from + i, n_left)));
    }
}

class GeluTraits : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int /*n_threads*/, const ggml_tensor* /*op*/, size_t& /*size*/) override { return false; }

    bool compute_forward(ggml_compute_params* params, ggml_tensor* op) override {
        const ggml_tensor* x = op->src[0];
        if (ggml_get_unary_op(op) != GGML_UNARY_OP_GELU || x->type != GGML_TYPE_F32 ||
            !ggml_is_contiguous(x) || !ggml_is_contiguous(op)) {
            return false;
        }
        const int64_t n = ggml_nelements(op);
        const int64_t begin = params->ith * n / params->nth;
        const int64_t end = (params->ith + 1) * n / params->nth;
        gelu_row(static_cast<const float*>(x->data) + begin, end - begin,
                 static_cast<float*>(op->data) + begin);
        return true;
    }
};

}  // namespace

ggml::cpu::tensor_traits* gelu_traits() {
    static GeluTraits traits;
    return &traits;
}

#else

ggml::cpu::tensor_traits* gelu_traits() {
    return nullptr;
}

#endif

}  // namespace tea::kernels
