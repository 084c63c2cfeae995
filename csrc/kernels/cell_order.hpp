#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/ggml_cpu.hpp"

namespace tea::kernels {

// The order in which the cells of a KV cache were written. A token's cells are in the order of their
// positions then, wherever llama.cpp found room for them: attention adds them in this order, so that its bits
// do not depend on what else is, or was, in the cache.
//
// Not known are cells that llama.cpp filled from a saved state, and those of all but the 64 caches that were
// written last; they count as written before all others, in the order of their indices.
class CellOrder {
  public:
    explicit CellOrder(const ggml_tensor* cache);

    // `cells` are in the order of their indices.
    void sort(int32_t* cells, int64_t n) const;

  private:
    std::shared_ptr<const std::vector<uint64_t>>
        written_;  // a number for each cell, larger ones later; or null
};

// Takes note of the cells that GGML_OP_SET_ROWS writes, which ggml computes.
ggml::cpu::tensor_traits* cell_order_traits();

}  // namespace tea::kernels
