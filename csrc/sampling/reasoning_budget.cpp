#include "sampling/reasoning_budget.hpp"

#include <algorithm>
#include <string_view>

#include "base/utf8.hpp"
#include "llama/tokenizer.hpp"

namespace tea {

namespace {

bool ends_inside_character(std::string_view text) {
    bool is_unfinished = false;
    for (size_t begin = text.size() - std::min<size_t>(text.size(), 3); begin < text.size(); ++begin) {
        is_unfinished = is_unfinished || utf8::decode_one(text.substr(begin)).is_unfinished;
    }
    return is_unfinished;
}

}  // namespace

ReasoningBudget::ReasoningBudget(const Model& model, const ReasoningOptions& options)
    : options_(options), n_left_(options.budget) {
    if (options.budget >= 0 && !options.end.empty()) {
        end_tokens_ = tokenizer::encode_further(model, options.end);
        state_ = options.is_open ? (n_left_ > 0 ? State::inside : State::forcing) : State::before;
    }
}

std::optional<int32_t> ReasoningBudget::forced() const {
    if (state_ != State::forcing) {
        return std::nullopt;
    }
    return end_tokens_[n_forced_];
}

void ReasoningBudget::accept(const std::string& piece) {
    if (state_ == State::over) {
        return;
    }
    tail_ += piece;
    if (state_ == State::forcing) {
        ++n_forced_;
        state_ = n_forced_ < end_tokens_.size() ? State::forcing : State::over;
    } else if (state_ == State::before) {
        if (tail_.find(options_.start) != std::string::npos) {
            state_ = n_left_ > 0 ? State::inside : State::forcing;
            tail_.clear();
        }
    } else if (tail_.find(options_.end) != std::string::npos) {
        state_ = State::over;
    } else if (--n_left_ <= 0 && !ends_inside_character(tail_)) {
        state_ = State::forcing;
    }
    const size_t n_kept = options_.start.size() + options_.end.size() + 4;
    tail_.erase(0, tail_.size() - std::min(tail_.size(), n_kept));
}

}  // namespace tea
