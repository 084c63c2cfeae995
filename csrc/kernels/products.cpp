// Products of a matrix of weights with columns of activations, where it lies: docs/adr/0012-own-products.md

#include "kernels/products.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "kernels/float_products.hpp"
#include "kernels/quant_products.hpp"

namespace tea::kernels {

#ifdef TEA_LANES

namespace {

constexpr int64_t parts(int64_t n, int64_t size) {
    return (n + size - 1) / size;
}

// The operator, for one type of weights.
template <typename Type>
class Product {
    using Panel = typename Type::Panel;
    using Activation = typename Type::Activation;
    static constexpr int max_columns = Type::max_columns;

  public:
    explicit Product(const ggml_tensor* op) : out_(op), weights_(op->src[0]), x_(op->src[1]) {}

    bool is_ours() const {
        return weights_->type == Type::type && n_columns() >= Type::min_columns && n_rows() >= n_lanes &&
               n_blocks() > 0 && weights_->ne[0] % Type::n_inner == 0 &&
               weights_->nb[0] == ggml_type_size(Type::type);
    }

    size_t work_bytes(int64_t n_threads) const {
        return n_align + activation_bytes() + static_cast<size_t>(n_threads) * panel_bytes;
    }

    void compute(const ggml_compute_params* params) {
        auto* work = reinterpret_cast<uint8_t*>(aligned(reinterpret_cast<size_t>(params->wdata)));
        auto* panels = reinterpret_cast<Panel*>(work + activation_bytes() +
                                                static_cast<size_t>(params->ith) * panel_bytes);
        if constexpr (Type::converts) {
            activations_ = reinterpret_cast<Activation*>(work);
            convert_share(params->ith, params->nth);
        }
        // The result in chunks. Each thread's first is fixed, then it takes the next that nobody has.
        const int64_t n_row_panels = parts(n_rows(), n_lanes);
        const int64_t n_high = std::max<int64_t>(1, n_row_panels / (4 * params->nth));  // panels of a chunk
        const int64_t n_chunks_high = parts(n_row_panels, n_high);
        const int64_t n_chunks_wide =
            std::min(parts(4 * params->nth, n_chunks_high), parts(n_columns(), 4 * max_columns));
        const int64_t n_wide = parts(n_columns(), n_chunks_wide);  // columns of a chunk
        if (params->ith == 0) {
            ggml_threadpool_chunk_set(params->threadpool, params->nth);
        }
        ggml_barrier(params->threadpool);
        int64_t chunk = params->ith;
        while (chunk < n_chunks_high * n_chunks_wide) {
            const int64_t first_panel = chunk % n_chunks_high * n_high;
            const int64_t end_panel = std::min(first_panel + n_high, n_row_panels);
            const int64_t first_column = chunk / n_chunks_high * n_wide;
            const int64_t end_column = std::min(first_column + n_wide, n_columns());
            for (int64_t i = first_panel; i < end_panel; ++i) {
                multiply_rows(i * n_lanes, i + 1 < end_panel, first_column, end_column, panels);
            }
            chunk = ggml_threadpool_chunk_add(params->threadpool, 1);
        }
    }

  private:
    static constexpr int64_t n_panels = Type::n_depth / Type::n_inner;  // of a thread
    static constexpr size_t panel_bytes = aligned(sizeof(Panel) * n_panels);

    int64_t n_rows() const { return weights_->ne[1]; }
    int64_t n_columns() const { return x_->ne[1]; }
    int64_t n_blocks() const { return weights_->ne[0] / Type::n_inner; }

    size_t activation_bytes() const {  // in the work buffer
        return Type::converts ? aligned(static_cast<size_t>(n_blocks() * n_columns()) * sizeof(Activation))
                              : 0;
    }
    const float* column(int64_t i) const { return reinterpret_cast<const float*>(at(x_, i)); }
    const Activation* activations(int64_t column_index) const {
        if constexpr (Type::converts) {
            return activations_ + column_index * n_blocks();
        } else {
            return column(column_index);
        }
    }
    static uint8_t* at(const ggml_tensor* tensor, int64_t i) {
        return static_cast<uint8_t*>(tensor->data) + static_cast<size_t>(i) * tensor->nb[1];
    }

    void convert_share(int64_t thread, int64_t n_threads) {
        const int64_t n = n_blocks() * n_columns();
        for (int64_t i = thread * n / n_threads; i < (thread + 1) * n / n_threads; ++i) {
            activations_[i] = Type::convert(column(i / n_blocks()) + i % n_blocks() * Type::n_inner);
        }
    }

    void multiply_rows(int64_t first_row, bool is_followed, int64_t first_column, int64_t end_column,
                       Panel* panels) const {
        const uint8_t* rows[n_lanes];
        for (int64_t i = 0; i < n_lanes; ++i) {  // what is past the last one is not stored
            rows[i] = at(weights_, std::min(first_row + i, n_rows() - 1));
        }
        if constexpr (Type::max_direct_columns > 0) {
            if (end_column - first_column <= Type::max_direct_columns) {
                constexpr auto direct = direct_of(std::make_integer_sequence<int, Type::max_direct_columns>());
                const auto n_together = static_cast<size_t>(end_column - first_column);
                (this->*direct[n_together - 1])(rows, first_row, first_column);
                return;
            }
        }
        constexpr auto tiles = tiles_of(std::make_integer_sequence<int, max_columns>());
        for (int64_t first = 0; first < n_blocks(); first += n_panels) {
            const Part part{first_row, first, std::min(n_panels, n_blocks() - first)};
            pack(rows, is_followed, part, panels);
            for (int64_t c = first_column; c < end_column; c += max_columns) {
                const auto n_together = static_cast<size_t>(std::min<int64_t>(max_columns, end_column - c));
                (this->*tiles[n_together - 1])(panels, part, c);
            }
        }
    }

    struct Part {
        int64_t first_row;
        int64_t first_block;
        int64_t n_blocks;
    };

    // Rows are read side by side, which the CPU does not foresee: meanwhile, what is packed next is fetched row by row.
    void pack(const uint8_t* const (&rows)[n_lanes], bool is_followed, const Part& part,
              Panel* panels) const {
        const int64_t begin = part.first_block * Type::n_bytes;
        const int64_t n = part.n_blocks * Type::n_bytes;
        const bool is_last = part.first_block + part.n_blocks == n_blocks();
        const int64_t next = is_last ? n_lanes * static_cast<int64_t>(weights_->nb[1]) : begin + n;
        int64_t row = is_followed || !is_last ? 0 : n_lanes;
        int64_t fetched = 0;  // of the row
        for (int64_t i = 0; i < part.n_blocks; ++i) {
            while (row < n_lanes && row * n + fetched < (i + 1) * n_lanes * Type::n_bytes) {
                fetch(rows[row] + next + fetched);
                fetched += n_line;
                if (fetched >= n) {
                    fetched = 0;
                    ++row;
                }
            }
            Type::pack(rows, begin + i * Type::n_bytes, panels[i]);
        }
    }

    template <int n_together>
    TEA_FLATTEN void multiply_tile(const Panel* panels, const Part& part, int64_t first_column) const {
        const Activation* columns[n_together];
        float* results[n_together];
        Floats sums[n_together];
        const int64_t n_stored = std::min(n_lanes, n_rows() - part.first_row);
        for (int c = 0; c < n_together; ++c) {
            columns[c] = activations(first_column + c) + part.first_block * Type::n_activations;
            results[c] = reinterpret_cast<float*>(at(out_, first_column + c)) + part.first_row;
            sums[c] = part.first_block == 0 ? zeros() : load_first(results[c], n_stored);
        }
        for (int64_t i = 0; i < part.n_blocks; ++i) {
            Type::template add_product<n_together>(panels[i], columns, i, sums);
        }
        for (int c = 0; c < n_together; ++c) {
            store_first(results[c], n_stored, sums[c]);
        }
    }

    // The same for few columns: nothing is kept of the blocks.
    template <int n_together>
    void multiply_direct(const uint8_t* const* rows, int64_t first_row, int64_t first_column) const {
        const Activation* columns[n_together];
        Floats sums[n_together];
        for (int c = 0; c < n_together; ++c) {
            columns[c] = activations(first_column + c);
            sums[c] = zeros();
        }
        const auto n_ahead = n_lanes * static_cast<int64_t>(weights_->nb[1]);
        Type::template add_direct<n_together>(rows, n_blocks(), columns, rows[0] + n_ahead, n_ahead, sums);
        for (int c = 0; c < n_together; ++c) {
            store_first(reinterpret_cast<float*>(at(out_, first_column + c)) + first_row,
                        std::min(n_lanes, n_rows() - first_row), sums[c]);
        }
    }

    using Direct = void (Product::*)(const uint8_t* const*, int64_t, int64_t) const;
    template <int... i>
    static constexpr std::array<Direct, sizeof...(i)> direct_of(std::integer_sequence<int, i...> /*indices*/) {
        return {&Product::multiply_direct<i + 1>...};
    }

    using Tile = void (Product::*)(const Panel*, const Part&, int64_t) const;
    template <int... i>
    static constexpr std::array<Tile, max_columns> tiles_of(std::integer_sequence<int, i...> /*indices*/) {
        return {&Product::multiply_tile<i + 1>...};
    }

    const ggml_tensor* out_;
    const ggml_tensor* weights_;
    const ggml_tensor* x_;
    Activation* activations_ = nullptr;  // converted, in the work buffer
};

// Calls visit(product), if the operator is one that is computed here.
template <typename Visit>
bool visit_product(const ggml_tensor* op, Visit visit) {
    const auto is_matrix = [](const ggml_tensor* x) { return x->ne[2] == 1 && x->ne[3] == 1; };
    // In other buffers (AMX, repacked) weights are not what their type says.
    const auto is_plain = [](const ggml_tensor* x) {
        return x->buffer == nullptr || ggml_backend_buffer_is_host(x->buffer);
    };
    const ggml_tensor* x = op->src[1];
    const bool has_hint = ggml_get_op_params_i32(op, 1) != 0;
    if (has_hint || !is_matrix(op->src[0]) || !is_plain(op->src[0]) || !is_matrix(x) ||
        x->type != GGML_TYPE_F32 || x->nb[0] != sizeof(float)) {
        return false;
    }
    const auto visit_type = [&](auto product) { return product.is_ours() && (visit(product), true); };
    const auto visit_quants = [&](auto type) {
        return visit_type(Product<QuantProduct<decltype(type)>>(op));
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
            return visit_type(Product<FloatPanel<TypeF16>>(op));
        case GGML_TYPE_BF16:
            return visit_type(Product<PairPanel>(op));
        case GGML_TYPE_F32:
            return visit_type(Product<FloatPanel<TypeF32>>(op));
        default:
            return false;
    }
}

class ProductTraits : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int n_threads, const ggml_tensor* op, size_t& size) override {
        return visit_product(op, [&](const auto& product) { size = product.work_bytes(n_threads); });
    }

    bool compute_forward(ggml_compute_params* params, ggml_tensor* op) override {
        return visit_product(op, [&](auto& product) { product.compute(params); });
    }
};

}  // namespace

ggml::cpu::tensor_traits* product_traits() {
    static ProductTraits traits;
    return &traits;
}

#else

ggml::cpu::tensor_traits* product_traits() {
    return nullptr;
}

#endif

}  // namespace tea::kernels
