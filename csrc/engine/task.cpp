#include "engine/task.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "llama/tokenizer.hpp"

namespace tea {

namespace {

constexpr double seconds_per_priority = 10;  // of waiting make up for one level of priority

std::vector<int32_t> banned_tokens(const Model& model, bool ignore_eos) {
    std::vector<int32_t> banned = model.suppressed_tokens();
    if (ignore_eos) {
        const auto& ends = model.end_of_generation_tokens();
        banned.insert(banned.end(), ends.begin(), ends.end());
    }
    return banned;
}

std::unique_ptr<Grammar> grammar_of(const Model& model, const RequestOptions& options) {
    return options.grammar.empty()
               ? nullptr
               : std::make_unique<Grammar>(model, options.grammar, options.grammar_prefix);
}

// Those of the texts that are one token.
std::vector<int32_t> markers_of(const Model& model, const std::vector<std::string>& texts) {
    std::vector<int32_t> markers;
    for (const auto& text : texts) {
        const auto tokens = tokenizer::encode_further(model, text);
        if (tokens.size() == 1) {
            markers.push_back(tokens.front());
        }
    }
    return markers;
}

int32_t known_limit(const RequestOptions& options, int32_t n_ctx) {
    const auto n_prompt = static_cast<int64_t>(options.prompt.size());
    if (n_prompt >= n_ctx) {
        Error error(ErrorKind::context_overflow,
                    "the prompt has " + std::to_string(n_prompt) + " tokens, and a context of " +
                        std::to_string(n_ctx) + " must hold it and the answer: shorten it or raise n_ctx");
        error.n_prompt = n_prompt;
        error.n_ctx = n_ctx;
        throw error;
    }
    const int64_t n_room = n_ctx - n_prompt;
    return static_cast<int32_t>(n_prompt +
                                (options.max_tokens < 0 ? n_room : std::min(n_room, options.max_tokens)));
}

StepLogprobs logprobs_of(const Model& model, const std::vector<float>& row, int32_t token, int32_t n_best) {
    const LogitRow logits(row.data(), model.n_vocab());
    const double total = logits.log_total();
    const auto entry = [&](int32_t id) {
        return TokenLogprob{tokenizer::piece(model, id),
                            static_cast<float>(static_cast<double>(logits[id]) - total)};
    };
    StepLogprobs logprobs{entry(token), {}};
    if (n_best > 0) {
        for (const auto& best : logits.top(n_best)) {
            logprobs.best.push_back(entry(best.token));
        }
    }
    return logprobs;
}

double milliseconds(Request::Clock::duration duration) {
    return std::chrono::duration<double, std::milli>(duration).count();
}

}  // namespace

Task::Task(const Model& model, std::shared_ptr<Request> request, int32_t n_ctx, int32_t n_guesses)
    : request_(std::move(request)),
      tokens_(request_->options().prompt),
      n_limit_(known_limit(request_->options(), n_ctx)),
      sampler_(request_->options().sampling, banned_tokens(model, request_->options().ignore_eos),
               grammar_of(model, request_->options())),
      reasoning_(model, request_->options().reasoning),
      markers_(markers_of(model, request_->options().markers)),
      lookup_(n_guesses),
      text_(request_->options().stop) {
    if (sampler_.has_memory()) {
        for (const int32_t token : tokens_) {
            sampler_.accept(token, tokenizer::piece(model, token));
        }
    }
}

double Task::urgency() const {
    const std::chrono::duration<double> submitted = request_->submitted_at().time_since_epoch();
    return priority() * seconds_per_priority - submitted.count();
}

void Task::start(int32_t new_sequence, int32_t n_cached) {
    sequence = new_sequence;
    n_computed = n_cached;
    n_missing_at_start_ = n_missing();
    if (!is_started()) {
        started_at_ = Request::Clock::now();
        n_cached_ = n_cached;
    }
}

void Task::stop() {
    sequence = -1;
    n_computed = 0;
    n_pause = 0;
    draft.clear();
}

void Task::guess() {
    // The last token of an answer needs no computing.
    draft = n_missing() == 1 ? lookup_.guess(tokens_, n_growth() - 1) : std::vector<int32_t>{};
}

bool Task::advance(const Model& model, float* logits, WakeUps& wake_ups) {
    const RequestOptions& options = request_->options();
    if (options.n_top_logits > 0) {
        result_.top_logits.push_back(LogitRow(logits, model.n_vocab()).top(options.n_top_logits));
    }
    std::vector<float> raw;  // sampling changes the row
    if (options.n_logprobs >= 0) {
        raw.assign(logits, logits + model.n_vocab());
    }
    const int32_t token = next_token(logits, model.n_vocab());
    last_token_at_ = Request::Clock::now();
    if (n_generated_ == 0) {
        first_token_at_ = last_token_at_;
    }
    if (model.is_end_of_generation(token)) {
        return finish(FinishReason::stop, /*is_cut=*/false, wake_ups);
    }
    if (!raw.empty()) {
        result_.logprobs.push_back(logprobs_of(model, raw, token, options.n_logprobs));
    }
    tokens_.push_back(token);
    ++n_generated_;
    const bool is_marker = std::find(markers_.begin(), markers_.end(), token) != markers_.end();
    const std::string piece = tokenizer::piece(model, token, is_marker);
    if (sampler_.has_memory()) {
        sampler_.accept(token, piece);
    }
    if (reasoning_.is_active()) {
        reasoning_.accept(tokenizer::piece(model, token, /*shows_control=*/true));
    }
    request_->deliver(text_.push(piece), wake_ups);
    if (text_.has_stopped()) {
        return finish(FinishReason::stop, /*is_cut=*/false, wake_ups);
    }
    if (n_known() >= n_limit_) {
        return finish(FinishReason::length, /*is_cut=*/true, wake_ups);
    }
    return true;
}

int32_t Task::next_token(float* logits, int32_t n_vocab) {
    const auto forced = reasoning_.forced();
    if (forced) {
        sampler_.force(*forced);
        return *forced;
    }
    return sampler_.sample(logits, n_vocab);
}

bool Task::score(int32_t position, const float* logits, int32_t n_vocab) {
    const auto logit = static_cast<double>(logits[tokens_[static_cast<size_t>(position)]]);
    const auto score = static_cast<float>(logit - LogitRow(logits, n_vocab).log_total());
    if (std::isnan(score)) {
        throw NotFinite("the model gives token " + std::to_string(position) +
                        " of the text no finite score: its weights are damaged");
    }
    result_.scores.push_back(score);
    first_token_at_ = last_token_at_ = Request::Clock::now();
    return position < n_known();
}

bool Task::finish(FinishReason reason, bool is_cut, WakeUps& wake_ups) {
    request_->deliver(text_.finish(is_cut), wake_ups);
    result_.finish_reason = reason;
    return false;
}

Task::~Task() {
    if (!is_announced_) {
        WakeUps wake_ups;
        request_->fail(Error(ErrorKind::inference, "the engine lost this request"), wake_ups);
        wake_ups.send();
    }
}

void Task::announce(WakeUps& wake_ups) {
    is_announced_ = true;
    if (error_) {
        request_->fail(*error_, wake_ups);
        return;
    }
    result_.usage.n_prompt = static_cast<int64_t>(request_->options().prompt.size());
    result_.usage.n_cached = n_cached_;
    result_.usage.n_generated = n_generated_;
    result_.timings = timings();
    request_->finish(std::move(result_), wake_ups);
}

RequestTimings Task::timings() const {
    RequestTimings timings;
    timings.queue_ms = milliseconds(started_at_ - request_->submitted_at());
    timings.prefill_ms = milliseconds(first_token_at_ - started_at_);
    timings.ttft_ms = milliseconds(first_token_at_ - request_->submitted_at());
    timings.decode_ms = milliseconds(last_token_at_ - first_token_at_);
    return timings;
}

}  // namespace tea
