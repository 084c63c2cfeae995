#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tea {

// How many prompt tokens fit into a step beside requests that generate, so that the step takes at most
// `slowdown` times as long as it would without them. Learns from the steps' times; no clock of its own.
class Pace {
  public:
    // `most` is what a step may hold at all.
    Pace(double slowdown, int32_t n_parallel, int32_t most);

    // A step of `n_decode` generating sequences and `n_prompt` prompt tokens took so long.
    void observe(int32_t n_decode, int32_t n_prompt, double seconds);
    // 0: this step should do without, to learn how long it takes then.
    int32_t prompt_chunk(int32_t n_decode);

  private:
    struct Average {
        double value = 0;  // 0: not known
        void add(double sample);
    };

    double slowdown_;
    int32_t most_;
    std::vector<Average> decode_s_;          // of a step without prompt tokens, by n_decode
    std::vector<int32_t> n_since_measured_;  // steps with prompt tokens since then
    Average prompt_token_s_;
};

}  // namespace tea
