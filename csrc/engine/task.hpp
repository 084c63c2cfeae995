#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/model.hpp"
#include "engine/request.hpp"
#include "engine/sampler.hpp"
#include "engine/text_stream.hpp"

namespace tea {

// A request while it is worked on: what is known and computed of it, and its samplers. Made on the
// submitting thread, then owned by the engine thread.
class Task {
  public:
    Task(const Model& model, std::shared_ptr<Request> request, int32_t n_ctx);

    Request& request() { return *request_; }
    const std::vector<int32_t>& tokens() const { return tokens_; }
    int32_t n_known() const { return static_cast<int32_t>(tokens_.size()); }
    int32_t n_growth() const { return n_limit_ - n_known(); }
    bool is_started() const { return started_at_ != Request::Clock::time_point{}; }

    // Gets a sequence whose first n_cached tokens are computed. Again after a preemption.
    void start(int32_t sequence, int32_t n_cached);

    // Samples the next token from a row of logits and gives its text to the request. Returns false
    // when that was the end; announce() then tells the request.
    bool advance(const Model& model, float* logits);

    // Makes `error` the end.
    void fail(const Error& error) { error_ = error; }
    // Tells the request its end.
    void announce();

    int64_t n_generated() const { return n_generated_; }

    int32_t sequence = -1;   // -1: waiting
    int32_t n_computed = 0;  // tokens in the KV cache

  private:
    bool finish(FinishReason reason, bool is_cut);
    RequestTimings timings() const;

    std::shared_ptr<Request> request_;
    std::vector<int32_t> tokens_;  // prompt, then generated
    int32_t n_limit_;              // n_known at which the answer is cut
    Sampler sampler_;
    TextStream text_;
    RequestResult result_;  // as far as it is known
    std::optional<Error> error_;
    int64_t n_cached_ = 0;
    int64_t n_generated_ = 0;
    Request::Clock::time_point started_at_{};
    Request::Clock::time_point first_token_at_{};
    Request::Clock::time_point last_token_at_{};
};

}  // namespace tea
