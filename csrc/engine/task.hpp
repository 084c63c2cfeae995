#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/request.hpp"
#include "llama/model.hpp"
#include "planning/prompt_lookup.hpp"
#include "sampling/reasoning_budget.hpp"
#include "sampling/sampler.hpp"
#include "sampling/text_stream.hpp"

namespace tea {

// A request while it is worked on: what is known and computed of it, and its sampler. Made on the
// submitting thread, then owned by the engine thread.
class Task {
  public:
    // `n_guesses`: most tokens to guess a step.
    Task(const Model& model, std::shared_ptr<Request> request, int32_t n_ctx, int32_t n_guesses);
    // A request that was told nothing fails: nobody waits forever.
    ~Task();
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;

    Request& request() { return *request_; }
    const Request& request() const { return *request_; }
    const std::vector<int32_t>& tokens() const { return tokens_; }
    // Tokens to compute. The last one of a text that is scored is not: nothing follows it.
    int32_t n_known() const { return static_cast<int32_t>(tokens_.size()) - (is_scoring() ? 1 : 0); }
    bool is_scoring() const { return request_->options().scores; }
    int32_t n_missing() const { return n_known() - n_computed; }
    // Tokens that were to be computed when it got its sequence.
    int32_t n_missing_at_start() const { return n_missing_at_start_; }
    int32_t n_growth() const { return n_limit_ - n_known(); }
    int32_t priority() const { return request_->options().priority; }
    // The greater goes first. It does not change with time: all requests age alike.
    double urgency() const;
    // When its first token came; none: the end of time.
    Request::Clock::time_point first_token_at() const {
        return n_generated_ > 0 ? first_token_at_ : Request::Clock::time_point::max();
    }
    bool is_started() const { return started_at_ != Request::Clock::time_point{}; }

    // Gets a sequence whose first n_cached tokens are computed. Again after a preemption.
    void start(int32_t sequence, int32_t n_cached);
    // Loses its sequence.
    void stop();

    // Guesses what follows the known tokens, for a step that computes the last of those.
    void guess();
    // Samples the next token from a row of logits and gives its text to the request. Returns false
    // when that was the end; announce() then tells the request.
    bool advance(const Model& model, float* logits, WakeUps& wake_ups);
    // Scores the token at `position` by the row of the one before it. Returns false when that was the last.
    bool score(int32_t position, const float* logits, int32_t n_vocab);
    // n_guessed tokens were guessed and computed, and n_right of them were right.
    void learn(int32_t n_guessed, int32_t n_right) { lookup_.learn(n_guessed, n_right); }

    // Makes `error` the end.
    void fail(const Error& error) { error_ = error; }
    // Tells the request its end.
    void announce(WakeUps& wake_ups);

    int64_t n_generated() const { return n_generated_; }

    int32_t sequence = -1;       // -1: waiting
    int32_t n_computed = 0;      // tokens in the KV cache
    int32_t n_pause = 0;         // a checkpoint is made when this many tokens are computed; 0: never
    std::vector<int32_t> draft;  // guessed tokens

  private:
    int32_t next_token(float* logits, int32_t n_vocab);
    bool finish(FinishReason reason, bool is_cut, WakeUps& wake_ups);
    RequestTimings timings() const;

    std::shared_ptr<Request> request_;
    std::vector<int32_t> tokens_;  // prompt, then generated
    int32_t n_limit_;              // n_known at which the answer is cut
    Sampler sampler_;
    ReasoningBudget reasoning_;
    std::vector<int32_t> markers_;  // control tokens whose texts are part of the answer
    PromptLookup lookup_;
    TextStream text_;
    RequestResult result_;  // as far as it is known
    std::optional<Error> error_;
    bool is_announced_ = false;
    int64_t n_cached_ = 0;
    int32_t n_missing_at_start_ = 0;
    int64_t n_generated_ = 0;
    Request::Clock::time_point started_at_{};
    Request::Clock::time_point first_token_at_{};
    Request::Clock::time_point last_token_at_{};
};

}  // namespace tea
