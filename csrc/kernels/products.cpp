// Products of weights with columns of activations, where the weights lie: docs/adr/0012-own-products.md

#include "kernels/products.hpp"

#include <algorithm>
#include <cstdint>

#include "kernels/float_products.hpp"
#include "kernels/quant_products.hpp"
#include "kernels/quants_of_256.hpp"
#include "kernels/quants_of_32.hpp"
#include "kernels/rows.hpp"

namespace tea::kernels {

#ifdef TEA_LANES

namespace {

constexpr int64_t parts(int64_t n, int64_t size) {
    return (n + size - 1) / size;
}

// The columns to multiply with one matrix.
template <typename Activation>
struct Batch {
    const uint8_t* weights;
    Column<Activation>* columns;
    int64_t n_columns;
};

// GGML_OP_MUL_MAT of a matrix, or GGML_OP_MUL_MAT_ID: a matrix for each expert, and experts for each column.
// `Type` says how weights of a type are multiplied.
template <typename Type>
class Product {
    using Activation = typename Type::Activation;
    using Column = kernels::Column<Activation>;
    using Batch = kernels::Batch<Activation>;

  public:
    explicit Product(const ggml_tensor* op) : out_(op), weights_(op->src[0]), x_(op->src[1]) {}

    bool is_ours() const {
        return n_rows() > 0 && n_columns() > 0 && n_blocks() > 0 && weights_->ne[0] % Type::n_inner == 0 &&
               weights_->nb[0] == ggml_type_size(Type::type);
    }

    size_t work_bytes(int64_t n_threads) const {
        return n_align + column_bytes() + batch_bytes() + activation_bytes() +
               static_cast<size_t>(n_threads) * thread_bytes();
    }

    void compute(const ggml_compute_params* params) {
        auto* work = aligned(params->wdata);
        auto* columns = reinterpret_cast<Column*>(work);
        auto* batches = reinterpret_cast<Batch*>(work += column_bytes());
        activations_ = reinterpret_cast<Activation*>(work += batch_bytes());
        void* of_thread = work + activation_bytes() + static_cast<size_t>(params->ith) * thread_bytes();
        if constexpr (Type::converts) {
            convert_share(params->ith, params->nth);
        }
        if (params->ith == 0) {
            make_batches(columns, batches);
            ggml_threadpool_chunk_set(params->threadpool, params->nth);
        }
        ggml_barrier(params->threadpool);
        // The results are computed in chunks. A thread's first chunk is fixed; then it takes the next free
        // one.
        const int64_t n_row_panels = parts(n_rows(), n_lanes);
        const int64_t n_high =
            std::max<int64_t>(1, n_row_panels / (int64_t{4} * params->nth));  // panels of a chunk
        const int64_t n_chunks_high = parts(n_row_panels, n_high);
        int64_t chunk = params->ith;
        int64_t first_chunk = 0;  // of the batch
        for (const Batch* batch = batches; batch < batches + n_matrices(); ++batch) {
            const int64_t n_chunks_wide = std::min(parts(int64_t{4} * params->nth, n_chunks_high),
                                                   parts(batch->n_columns, 4 * Type::max_columns));
            const int64_t n_wide = n_chunks_wide == 0 ? 0 : parts(batch->n_columns, n_chunks_wide);
            const int64_t end_chunk = first_chunk + n_chunks_high * n_chunks_wide;
            while (chunk < end_chunk) {
                const int64_t first_panel = (chunk - first_chunk) % n_chunks_high * n_high;
                const int64_t end_panel = std::min(first_panel + n_high, n_row_panels);
                const int64_t first_column = (chunk - first_chunk) / n_chunks_high * n_wide;
                const int64_t end_column = std::min(first_column + n_wide, batch->n_columns);
                const int64_t n_most = Type::most_columns(weights_->ne[0]);
                for (int64_t first = first_column; first < end_column; first += n_most) {
                    for (int64_t i = first_panel; i < end_panel; ++i) {
                        Type::multiply_rows(rows_of(batch->weights, i * n_lanes, i + 1 < end_panel),
                                            batch->columns + first, std::min(n_most, end_column - first),
                                            of_thread);
                    }
                }
                chunk = ggml_threadpool_chunk_add(params->threadpool, 1);
            }
            first_chunk = end_chunk;
        }
    }

  private:
    const ggml_tensor* experts() const { return out_->src[2]; }  // of each column; null: one matrix
    int64_t n_matrices() const { return weights_->ne[2]; }
    int64_t n_rows() const { return weights_->ne[1]; }
    int64_t n_blocks() const { return weights_->ne[0] / Type::n_inner; }
    int64_t n_activations() const { return x_->ne[1] * x_->ne[2]; }           // columns
    int64_t n_of_column() const { return n_blocks() * Type::n_activations; }  // converted
    int64_t n_columns() const { return out_->ne[1] * out_->ne[2]; }           // of results

    // In the work buffer
    size_t column_bytes() const { return aligned(static_cast<size_t>(n_columns()) * sizeof(Column)); }
    size_t batch_bytes() const { return aligned(static_cast<size_t>(n_matrices()) * sizeof(Batch)); }
    size_t activation_bytes() const {
        return Type::converts
                   ? aligned(static_cast<size_t>(n_activations() * n_of_column()) * sizeof(Activation))
                   : 0;
    }
    size_t thread_bytes() const { return aligned(Type::work_bytes(weights_->ne[0])); }

    static uint8_t* at(const ggml_tensor* tensor, int64_t i, int64_t j) {
        return static_cast<uint8_t*>(tensor->data) + static_cast<size_t>(i) * tensor->nb[1] +
               static_cast<size_t>(j) * tensor->nb[2];
    }
    const float* column(int64_t i) const {
        return reinterpret_cast<const float*>(at(x_, i % x_->ne[1], i / x_->ne[1]));
    }
    const Activation* activations(int64_t column_index) const {
        if constexpr (Type::converts) {
            return activations_ + column_index * n_of_column();
        } else {
            return column(column_index);
        }
    }

    void convert_share(int64_t thread, int64_t n_threads) {
        const int64_t n = n_blocks() * n_activations();
        for (int64_t i = thread * n / n_threads; i < (thread + 1) * n / n_threads; ++i) {
            Type::convert(column(i / n_blocks()) + i % n_blocks() * Type::n_inner,
                          activations_ + i * Type::n_activations);
        }
    }

    // A batch for each matrix, by which the columns are sorted.
    void make_batches(Column* columns, Batch* batches) const {
        const auto expert_of = [&](int64_t i) {
            if (experts() == nullptr) {
                return int32_t{0};
            }
            const auto* of_token = at(experts(), i / out_->ne[1], 0);
            return *reinterpret_cast<const int32_t*>(of_token +
                                                     static_cast<size_t>(i % out_->ne[1]) * experts()->nb[0]);
        };
        for (int64_t m = 0; m < n_matrices(); ++m) {
            batches[m] = {at(weights_, 0, m), nullptr, 0};
        }
        for (int64_t i = 0; i < n_columns(); ++i) {
            ++batches[expert_of(i)].n_columns;
        }
        for (int64_t m = 0; m < n_matrices(); ++m) {
            batches[m].columns = columns;
            columns += batches[m].n_columns;
            batches[m].n_columns = 0;
        }
        for (int64_t i = 0; i < n_columns(); ++i) {
            const int64_t slot = i % out_->ne[1];
            const int64_t token = i / out_->ne[1];
            Batch& batch = batches[expert_of(i)];
            batch.columns[batch.n_columns++] = {activations(token * x_->ne[1] + slot % x_->ne[1]),
                                                reinterpret_cast<float*>(at(out_, slot, token))};
        }
    }

    Rows rows_of(const uint8_t* weights, int64_t first, bool is_followed) const {
        Rows rows;
        rows.first = first;
        rows.n = std::min(n_lanes, n_rows() - first);
        rows.n_inner = weights_->ne[0];
        rows.n_bytes = static_cast<int64_t>(weights_->nb[1]);
        rows.is_followed = is_followed;
        for (int64_t i = 0; i < n_lanes; ++i) {
            rows.rows[i] = weights + std::min(first + i, n_rows() - 1) * rows.n_bytes;
        }
        return rows;
    }

    const ggml_tensor* out_;
    const ggml_tensor* weights_;
    const ggml_tensor* x_;
    Activation* activations_ = nullptr;  // converted, in the work buffer
};

// Calls visit(product) with the product for the type of the weights, if it is one that is computed here.
template <typename Visit>
bool visit_type(const ggml_tensor* op, Visit visit) {
    const auto visit_product = [&](auto product) { return product.is_ours() && (visit(product), true); };
    const auto visit_quants = [&](auto type) {
        return visit_product(Product<QuantProduct<decltype(type)>>(op));
    };
    const auto visit_floats = [&](auto type) {
        return visit_product(Product<FloatProduct<decltype(type)>>(op));
    };
    switch (op->src[0]->type) {
        case GGML_TYPE_Q4_0:
            return visit_quants(TypeQ4_0());
        case GGML_TYPE_Q4_1:
            return visit_quants(TypeQ4_1());
        case GGML_TYPE_Q5_0:
            return visit_quants(TypeQ5_0());
        case GGML_TYPE_Q5_1:
            return visit_quants(TypeQ5_1());
        case GGML_TYPE_Q8_0:
            return visit_quants(TypeQ8_0());
        case GGML_TYPE_IQ4_NL:
            return visit_quants(TypeIQ4_NL());
        case GGML_TYPE_MXFP4:
            return visit_quants(TypeMXFP4());
        case GGML_TYPE_Q2_K:
            return visit_quants(TypeQ2_K());
        case GGML_TYPE_Q3_K:
            return visit_quants(TypeQ3_K());
        case GGML_TYPE_Q4_K:
            return visit_quants(TypeQ4_K());
        case GGML_TYPE_Q5_K:
            return visit_quants(TypeQ5_K());
        case GGML_TYPE_Q6_K:
            return visit_quants(TypeQ6_K());
        case GGML_TYPE_IQ4_XS:
            return visit_quants(TypeIQ4_XS());
        case GGML_TYPE_F16:
            return visit_floats(TypeF16());
        case GGML_TYPE_BF16:
#ifdef TEA_HAS_BF16_PAIRS
            if (visit_floats(TypeBF16Pairs())) {
                return true;
            }
#endif
            return visit_floats(TypeBF16());
        case GGML_TYPE_F32:
            return visit_floats(TypeF32());
        default:
            return false;
    }
}

// Whether operands are where, and of the shapes, that are computed here.
bool has_our_shape(const ggml_tensor* op) {
    const ggml_tensor* weights = op->src[0];
    const ggml_tensor* x = op->src[1];
    // In other buffers (AMX, repacked) weights are not what their type says.
    const bool is_plain = weights->buffer == nullptr || ggml_backend_buffer_is_host(weights->buffer);
    const bool has_hint = ggml_get_op_params_i32(op, 1) != 0;
    if (has_hint || !is_plain || weights->ne[3] != 1 || x->ne[3] != 1 || x->type != GGML_TYPE_F32 ||
        x->nb[0] != sizeof(float)) {
        return false;
    }
    return op->op == GGML_OP_MUL_MAT_ID || (weights->ne[2] == 1 && x->ne[2] == 1);
}

class ProductTraits : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int n_threads, const ggml_tensor* op, size_t& size) override {
        return has_our_shape(op) &&
               visit_type(op, [&](const auto& product) { size = product.work_bytes(n_threads); });
    }

    bool compute_forward(ggml_compute_params* params, ggml_tensor* op) override {
        return has_our_shape(op) && visit_type(op, [&](auto& product) { product.compute(params); });
    }
};

}  // namespace

ggml::cpu::tensor_traits* product_traits() {
    static ProductTraits traits;
    return &traits;
}

bool multiplies(ggml_type type) {
    ggml_tensor weights{};
    weights.type = type;
    weights.nb[0] = ggml_type_size(type);
    ggml_tensor x{};
    ggml_tensor op{};
    op.src[0] = &weights;
    op.src[1] = &x;
    for (ggml_tensor* tensor : {&weights, &x, &op}) {
        std::fill_n(tensor->ne, GGML_MAX_DIMS, 1);
        tensor->ne[0] = 256;  // a multiple of every type's block
    }
    return visit_type(&op, [](const auto& /*product*/) {});
}

#else

ggml::cpu::tensor_traits* product_traits() {
    return nullptr;
}

bool multiplies(ggml_type /*type*/) {
    return false;
}

#endif

}  // namespace tea::kernels
