#include "planning/pace.hpp"

#include <algorithm>

namespace tea {

namespace {

constexpr int32_t first_chunk = 8;     // while it is not known what a prompt token costs
constexpr int32_t max_growth = 2;      // from one chunk to the next: what larger ones cost is a guess
constexpr int32_t measure_every = 32;  // steps: the machine's load changes
constexpr double weight = 0.25;        // of a new sample
constexpr double max_change =
    4;  // a sample further above the average is one of a step that something held up

void add(double& average, double sample) {
    average = average > 0 ? average + weight * (std::min(sample, max_change * average) - average) : sample;
}

size_t size_class(int32_t n) {
    size_t i = 0;
    while (n >= 2) {
        n /= 2;
        ++i;
    }
    return i;
}

}  // namespace

Pace::Pace(double slowdown, int32_t n_parallel, int32_t max_tokens)
    : slowdown_(slowdown),
      max_tokens_(max_tokens),
      decode_s_(static_cast<size_t>(n_parallel) + 1),
      doubtful_s_(static_cast<size_t>(n_parallel) + 1),
      n_since_measured_(static_cast<size_t>(n_parallel) + 1),
      last_chunk_(std::min(first_chunk, max_tokens)) {}

void Pace::observe(int32_t n_decode, int32_t n_prompt, double seconds) {
    if (n_decode == 0) {
        return;  // nobody is held up, and what a token adds to a step cannot be told
    }
    const auto n = static_cast<size_t>(n_decode);
    if (n_prompt == 0) {
        measure(n, seconds);
        return;
    }
    ++n_since_measured_[n];
    decode_s_[n] = std::min(decode_s_[n], seconds);  // without prompt tokens it takes no longer
    last_chunk_ = n_prompt;
    learn(n_prompt, std::max(seconds - decode_s_[n], 1e-9) / n_prompt);
}

// A step that takes far longer than others of its kind was held up, unless the next one takes as long.
void Pace::measure(size_t n_decode, double seconds) {
    double& average = decode_s_[n_decode];
    double& doubtful = doubtful_s_[n_decode];
    if (average > 0 && seconds > 2 * average && doubtful == 0) {
        doubtful = seconds;
        return;
    }
    const double sample = doubtful > 0 ? std::min(doubtful, seconds) : seconds;
    if (sample > 2 * average || 2 * sample < average) {
        average = sample;  // other times have begun
    } else {
        add(average, sample);
    }
    doubtful = 0;
    n_since_measured_[n_decode] = 0;
}

// What changes a token's cost, as a longer past or a busier machine, changes it in larger chunks, too, of
// which nothing may have been seen since: in proportion. And a token is at least as dear in a smaller chunk,
// and at most as dear in a larger one.
void Pace::learn(int32_t n_prompt, double token_s) {
    const size_t known = size_class(n_prompt);
    const double before = token_s_[known];
    add(token_s_[known], token_s);
    for (size_t i = 0; i < known; ++i) {
        token_s_[i] = std::max(token_s_[i], token_s_[known]);
    }
    for (size_t i = known + 1; i < token_s_.size(); ++i) {
        const double changed = before > 0 ? token_s_[i] * token_s_[known] / before : 0;
        token_s_[i] = changed > 0 ? std::min(changed, token_s_[known]) : token_s_[known];
    }
}

int32_t Pace::prompt_chunk(int32_t n_decode) {
    if (n_decode == 0) {
        return max_tokens_;
    }
    const auto n = static_cast<size_t>(n_decode);
    if (decode_s_[n] <= 0 || doubtful_s_[n] > 0 || n_since_measured_[n] >= measure_every) {
        return 0;
    }
    const double max_s = (slowdown_ - 1) * decode_s_[n];
    const int32_t n_tried = std::min(max_tokens_, max_growth * std::max(last_chunk_, 1));
    if (token_s_[size_class(n_tried)] == 0) {
        return std::min(first_chunk, max_tokens_);
    }
    int32_t chunk = 1;
    for (size_t i = size_class(n_tried) + 1; i-- > 0;) {
        const int32_t n_smallest = 1 << i;
        const double n_fitting = std::min(max_s / token_s_[i], 2.0 * n_smallest - 1);
        if (n_fitting >= n_smallest) {
            chunk = static_cast<int32_t>(n_fitting);
            break;
        }
    }
    return std::clamp(chunk, 1, n_tried);
}

}  // namespace tea
