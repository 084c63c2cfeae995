#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "llama/decoder.hpp"
#include "llama/model.hpp"

namespace tea {

// Bytes of ordinary memory that a context takes.
struct Footprint {
    int64_t cache;             // the KV cache and recurrent states
    int64_t compute;           // scratch space for one step
    int64_t plain_weights;     // the model's, but for those that are rearranged when they are loaded
    bool fits_devices = true;  // GPUs have room for their part
};

// Whether a context fits into `n_free` bytes of memory (-1: not known, everything fits) of which the weights
// that are still in their mapped file need `n_mapped`. A cache that grows needs its size twice, while it
// moves for the last time. One that cannot grow is there as soon as it is made, and may take a quarter.
inline bool fits_memory(const Footprint& footprint, int64_t n_free, int64_t n_mapped, bool grows) {
    // More weights than memory: they are read again and again anyway.
    const int64_t n_room = std::max(n_free - n_mapped, n_free / 8);
    return n_free < 0 || (grows ? 2 * footprint.cache + footprint.compute <= n_room
                                : footprint.cache + footprint.compute <= n_room / 4);
}

// Asks llama.cpp how much memory contexts of a model would take. It lays them out without taking it, by the
// same code as the real ones: so each architecture's kinds of layers, heads, windows and states count as they
// are.
class FootprintMeter {
  public:
    // `layout`: loaded with layout_only.
    explicit FootprintMeter(std::shared_ptr<const Model> layout) : layout_(std::move(layout)) {}

    // Takes some milliseconds. Throws Error{inference} when llama.cpp would not make such a context.
    Footprint measure(const DecoderOptions& options) const;

  private:
    Footprint lay_out(const DecoderOptions& options, int32_t n_cells, int32_t n_sequences) const;
    Footprint for_all_sequences(const DecoderOptions& options, int32_t n_cells) const;

    std::shared_ptr<const Model> layout_;
};

// The largest multiple of `step` up to `limit` that fits; `step` when none does. What is larger must not fit
// where something smaller does not.
template <typename Fits>
int64_t largest_fitting(int64_t step, int64_t limit, Fits fits) {
    if (fits(limit)) {
        return limit;
    }
    int64_t fitting = 1;  // in steps
    int64_t too_large = (limit + step - 1) / step;
    while (too_large - fitting > 1) {
        const int64_t middle = fitting + (too_large - fitting) / 2;
        (fits(middle * step) ? fitting : too_large) = middle;
    }
    return std::min(limit, fitting * step);
}

}  // namespace tea
