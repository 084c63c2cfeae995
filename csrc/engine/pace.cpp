#include "engine/pace.hpp"

#include <algorithm>

namespace tea {

namespace {

constexpr int32_t least_chunk = 2;
constexpr int32_t first_chunk = 8;     // while it is not known what a prompt token costs
constexpr int32_t measure_every = 64;  // steps: the machine's load changes
constexpr double weight = 0.25;        // of a new sample

}  // namespace

Pace::Pace(double slowdown, int32_t n_parallel, int32_t most)
    : slowdown_(slowdown),
      most_(most),
      decode_s_(static_cast<size_t>(n_parallel) + 1),
      n_since_measured_(static_cast<size_t>(n_parallel) + 1) {}

void Pace::Average::add(double sample) {
    value = value > 0 ? value + weight * (sample - value) : sample;
}

void Pace::observe(int32_t n_decode, int32_t n_prompt, double seconds) {
    const auto n = static_cast<size_t>(n_decode);
    if (n_prompt == 0) {
        decode_s_[n].add(seconds);
        n_since_measured_[n] = 0;
        return;
    }
    ++n_since_measured_[n];
    const double without = n_decode > 0 ? decode_s_[n].value : 0;
    prompt_token_s_.add(std::max(seconds - without, 1e-9) / n_prompt);
}

int32_t Pace::prompt_chunk(int32_t n_decode) {
    if (n_decode == 0) {
        return most_;
    }
    const auto n = static_cast<size_t>(n_decode);
    if (decode_s_[n].value <= 0 || n_since_measured_[n] >= measure_every) {
        return 0;
    }
    if (prompt_token_s_.value <= 0) {
        return std::min(first_chunk, most_);
    }
    const double chunk = (slowdown_ - 1) * decode_s_[n].value / prompt_token_s_.value;
    return std::clamp(static_cast<int32_t>(std::min(chunk, 1e6)), std::min(least_chunk, most_), most_);
}

}  // namespace tea
