#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/options.hpp"
#include "engine/mailbox.hpp"
#include "llama/fork_stamp.hpp"
#include "sampling/sampler.hpp"

namespace tea {

enum class FinishReason { stop, length };

struct RequestTimings {
    double queue_ms = 0;
    double prefill_ms = 0;
    double ttft_ms = 0;
    double decode_ms = 0;
};

struct RequestUsage {
    int64_t n_prompt = 0;
    int64_t n_cached = 0;
    int64_t n_generated = 0;
};

struct TokenLogprob {
    std::string piece;  // the token's bytes
    float logprob;
};

// A generated token and what else was likely, by the model's own distribution: before any sampling option.
struct StepLogprobs {
    TokenLogprob chosen;
    std::vector<TokenLogprob> best;  // best first
};

struct RequestResult {
    std::string text;
    FinishReason finish_reason = FinishReason::stop;
    RequestUsage usage;
    RequestTimings timings;
    std::vector<std::vector<TokenLogit>> top_logits;  // for each sampled token, when asked for
    std::vector<float> scores;  // log-probabilities of the prompt's tokens but the first, when asked for
    std::vector<StepLogprobs> logprobs;  // for each generated token, when asked for
};

// The caller's side of a submitted request: its text as it comes, its end, and the means to cancel it.
// Any thread may use the first part; the engine thread alone fills it. It ends exactly once, with a
// result or an error.
class Request {
  public:
    using Clock = std::chrono::steady_clock;

    explicit Request(RequestOptions options);

    // --- the caller's side, any thread ---

    void cancel() { is_cancelled_.store(true, std::memory_order_relaxed); }

    // Waits at most `slice` for the end. Returns whether it has come.
    bool wait(std::chrono::milliseconds slice);
    // Waits at most `slice` for new text or the end. Returns whether there is either.
    bool wait_text(std::chrono::milliseconds slice);
    // Posts `tag` to `mailbox` when there is new text (if asked for) or the end; for text, once until
    // take_text(). At once if there is either already.
    void notify(std::shared_ptr<Mailbox> mailbox, uint64_t tag, bool wants_text);
    // Text that came since the last call.
    std::string take_text();
    bool is_done() const;
    // After the end: the result, or the error thrown.
    RequestResult result() const;

    // --- the engine's side ---

    const RequestOptions& options() const { return options_; }
    Clock::time_point submitted_at() const { return submitted_at_; }
    bool is_cancelled() const { return is_cancelled_.load(std::memory_order_relaxed); }
    bool is_expired() const { return deadline_ && Clock::now() >= *deadline_; }
    bool wants_end() const { return is_cancelled() || is_expired(); }

    void deliver(const std::string& text, WakeUps& wake_ups);
    // `result` without its text, which was delivered.
    void finish(RequestResult result, WakeUps& wake_ups);
    void fail(const Error& error, WakeUps& wake_ups);

  private:
    void end(WakeUps& wake_ups);

    const RequestOptions options_;
    const Clock::time_point submitted_at_;
    const std::optional<Clock::time_point> deadline_;
    const runtime::ForkStamp fork_stamp_;
    std::atomic<bool> is_cancelled_{false};

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    RequestResult result_;              // guarded by mutex_; text grows until the end
    std::optional<Error> error_;        // guarded by mutex_
    size_t n_taken_ = 0;                // bytes of text that take_text() returned; guarded by mutex_
    bool is_done_ = false;              // guarded by mutex_
    bool is_streamed_ = false;          // someone waits for text; guarded by mutex_
    std::shared_ptr<Mailbox> mailbox_;  // guarded by mutex_
    uint64_t mailbox_tag_ = 0;          // guarded by mutex_
    bool posts_text_ = false;           // guarded by mutex_
    bool is_posted_ = false;            // new text was posted and not taken; guarded by mutex_
};

}  // namespace tea
