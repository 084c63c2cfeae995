#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tea {

// How many prompt tokens fit into a step beside requests that generate, so that the step takes at most
// `slowdown` times as long as it would without them. Learns from the steps' times; no clock of its own.
//
// A prompt token costs the less the more of them are computed at once. How much less depends on the machine,
// the model and how long the prompt is by now: so costs are kept by size of chunk, in powers of two.
class Pace {
  public:
    // `max_tokens` is what a step may hold at all.
    Pace(double slowdown, int32_t n_parallel, int32_t max_tokens);

    // A step of `n_decode` generating sequences and `n_prompt` prompt tokens took so long.
    void observe(int32_t n_decode, int32_t n_prompt, double seconds);
    // 0: this step should do without, to learn how long it takes then.
    int32_t prompt_chunk(int32_t n_decode);

  private:
    void measure(size_t n_decode, double seconds);
    void learn(int32_t n_prompt, double token_s);

    double slowdown_;
    int32_t max_tokens_;
    std::vector<double> decode_s_;           // of a step without prompt tokens, by n_decode; 0: not known
    std::vector<double> doubtful_s_;         // of the last such step, to be compared with the next; 0: none
    std::vector<int32_t> n_since_measured_;  // steps with prompt tokens since then
    std::array<double, 31> token_s_{};       // of a prompt token in chunks of [2^i, 2^(i+1)); 0: not known
    int32_t last_chunk_;                     // of the last step that had one
};

}  // namespace tea
