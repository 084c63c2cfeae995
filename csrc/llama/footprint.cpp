#include "llama/footprint.hpp"

#include <algorithm>
#include <string>

#include "base/error.hpp"
#include "ggml-backend.h"
#include "llama-ext.h"
#include "llama/abort_guard.hpp"
#include "llama/context_params.hpp"
#include "llama/log.hpp"

namespace tea {

namespace {

// Cells that are laid out at most: each takes some bytes of bookkeeping. More take as much more each.
constexpr int32_t max_laid_out_cells = 1 << 20;

int64_t extrapolate(int64_t at_half, int64_t at_whole, double n_times) {
    return at_whole + static_cast<int64_t>(static_cast<double>(at_whole - at_half) * 2 * (n_times - 1));
}

bool has_room(ggml_backend_dev_t device, size_t n_bytes) {
    size_t n_free = 0;
    size_t n_total = 0;
    ggml_backend_dev_memory(device, &n_free, &n_total);
    return n_total == 0 || n_bytes <= n_free;  // 0: it does not tell
}

Footprint footprint_of(const llama_context* context) {
    Footprint footprint{};
    for (const auto& [type, bytes] : llama_get_memory_breakdown(context)) {
        const bool is_host = ggml_backend_buft_is_host(type);
        ggml_backend_dev_t device = ggml_backend_buft_get_device(type);
        if (!is_host && device != nullptr && ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_CPU) {
            footprint.fits_devices =
                footprint.fits_devices && has_room(device, bytes.context + bytes.compute);
            continue;
        }
        footprint.cache += static_cast<int64_t>(bytes.context);
        footprint.compute += static_cast<int64_t>(bytes.compute);
        footprint.plain_weights += is_host ? static_cast<int64_t>(bytes.model) : 0;
    }
    return footprint;
}

}  // namespace

Footprint FootprintMeter::measure(const DecoderOptions& options) const {
    const runtime::LogCapture quiet(/*is_quiet=*/true);
    if (options.n_cells <= max_laid_out_cells) {
        return for_all_sequences(options, options.n_cells);
    }
    const Footprint half = for_all_sequences(options, max_laid_out_cells / 2);
    Footprint whole = for_all_sequences(options, max_laid_out_cells);
    const double n_times = static_cast<double>(options.n_cells) / max_laid_out_cells;
    whole.cache = extrapolate(half.cache, whole.cache, n_times);
    whole.compute = extrapolate(half.compute, whole.compute, n_times);
    return whole;
}

// Recurrent states are the one thing that llama.cpp does not only lay out: two of them say what others take.
Footprint FootprintMeter::for_all_sequences(const DecoderOptions& options, int32_t n_cells) const {
    if (layout_->memory_class() != MemoryClass::recurrent) {
        return lay_out(options, n_cells, options.n_sequences);
    }
    const Footprint one = lay_out(options, n_cells, 1);
    Footprint two = lay_out(options, n_cells, 2);
    two.cache = one.cache + (two.cache - one.cache) * (options.n_sequences - 1);
    two.compute = one.compute + std::max<int64_t>(0, two.compute - one.compute) * (options.n_sequences - 1);
    return two;
}

Footprint FootprintMeter::lay_out(const DecoderOptions& options, int32_t n_cells, int32_t n_sequences) const {
    llama_context_params params = context_params(options, n_cells);
    params.n_seq_max = static_cast<uint32_t>(n_sequences);
    const runtime::LogCapture capture;
    Handle<llama_context> context;
    Footprint footprint{};
    try {
        runtime::guarded(
            ErrorKind::inference, "llama.cpp gave up on a context", [&](const runtime::Guard& guard) {
                context = Handle<llama_context>(llama_init_from_model(layout_->handle(guard), params));
                if (!context) {
                    throw Error(ErrorKind::inference,
                                "no context of " + std::to_string(n_cells) +
                                    " cells is possible: " + capture.last_lines("llama.cpp gave no reason"));
                }
                footprint = footprint_of(context.get(guard));
            });
    } catch (const runtime::Aborted&) {
        context.leak();  // in an unknown state
        throw;
    }
    return footprint;
}

}  // namespace tea
