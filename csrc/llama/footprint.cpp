#include "llama/footprint.hpp"

#include <algorithm>
#include <string>

#include "base/error.hpp"
#include "ggml-backend.h"
#include "llama-ext.h"
#include "llama/abort_guard.hpp"
#include "llama/decoder.hpp"
#include "llama/log.hpp"

namespace tea {

namespace {

// Cells that are laid out at most: each takes some bytes of bookkeeping. More take as much more each.
constexpr int32_t most_cells = 1 << 20;

int64_t extrapolate(int64_t at_half, int64_t at_whole, double n_times) {
    return at_whole + static_cast<int64_t>(static_cast<double>(at_whole - at_half) * 2 * (n_times - 1));
}

bool has_room(ggml_backend_dev_t device, size_t n_bytes) {
    size_t n_free = 0;
    size_t n_total = 0;
    ggml_backend_dev_memory(device, &n_free, &n_total);
    return n_total == 0 || n_bytes <= n_free;  // 0: it does not tell
}

}  // namespace

Footprint FootprintMeter::measure(const EngineConfig& config) const {
    const runtime::LogCapture quiet(/*is_quiet=*/true);
    if (config.n_cells <= most_cells) {
        return for_all_sequences(config, config.n_cells);
    }
    const Footprint half = for_all_sequences(config, most_cells / 2);
    Footprint whole = for_all_sequences(config, most_cells);
    const double n_times = static_cast<double>(config.n_cells) / most_cells;
    whole.cache = extrapolate(half.cache, whole.cache, n_times);
    whole.compute = extrapolate(half.compute, whole.compute, n_times);
    return whole;
}

// Recurrent states are the one thing that llama.cpp does not only lay out: two of them say what others take.
Footprint FootprintMeter::for_all_sequences(const EngineConfig& config, int32_t n_cells) const {
    if (layout_->memory_class() != MemoryClass::recurrent) {
        return lay_out(config, n_cells, config.n_sequences);
    }
    const Footprint one = lay_out(config, n_cells, 1);
    Footprint two = lay_out(config, n_cells, 2);
    two.cache = one.cache + (two.cache - one.cache) * (config.n_sequences - 1);
    two.compute = one.compute + std::max<int64_t>(0, two.compute - one.compute) * (config.n_sequences - 1);
    return two;
}

Footprint FootprintMeter::lay_out(const EngineConfig& config, int32_t n_cells, int32_t n_sequences) const {
    llama_context_params params = context_params(config, n_cells);
    params.n_seq_max = static_cast<uint32_t>(n_sequences);
    const runtime::LogCapture capture;
    const runtime::AbortGuard guard;
    llama_context_ptr context;
    Footprint footprint{};
    try {
        context.reset(llama_init_from_model(layout_->handle(), params));
        guard.check();
        if (!context) {
            throw Error(ErrorKind::inference,
                        "no context of " + std::to_string(n_cells) +
                            " cells is possible: " + capture.last_lines("llama.cpp gave no reason"));
        }
        for (const auto& [type, bytes] : llama_get_memory_breakdown(context.get())) {
            const bool is_host = ggml_backend_buft_is_host(type);
            ggml_backend_dev_t device = ggml_backend_buft_get_device(type);
            if (!is_host && device != nullptr &&
                ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_CPU) {
                footprint.fits_devices =
                    footprint.fits_devices && has_room(device, bytes.context + bytes.compute);
                continue;
            }
            footprint.cache += static_cast<int64_t>(bytes.context);
            footprint.compute += static_cast<int64_t>(bytes.compute);
            footprint.plain_weights += is_host ? static_cast<int64_t>(bytes.model) : 0;
        }
        guard.check();
    } catch (const runtime::Aborted& abort) {
        (void)context.release();  // in an unknown state: leaked
        throw Error(ErrorKind::inference, std::string("llama.cpp gave up on a context: ") + abort.what());
    }
    return footprint;
}

}  // namespace tea
