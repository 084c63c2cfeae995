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
// Cells that come from a saved state keep the order that they had when it was saved, if begin_copying() gets
// what ranks_of_read() gave then; else they follow one another as in the state.
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

// From now on, takes note of the cells that are copied out of and into KV caches in the CPU's memory. Call it
// once, before any is allocated.
void watch_cpu_buffers();

// Follows the cells that this thread copies out of and into KV caches, until end_copying(): `ranks` are those
// of the cells that it will write, in that order.
void begin_copying(std::vector<uint32_t> ranks);
// Of the cells that it has read, in that order: the rank of each by the time when it was written. Throws
// std::bad_alloc if there was no memory for one.
std::vector<uint32_t> ranks_of_read();
void end_copying();

}  // namespace tea::kernels
