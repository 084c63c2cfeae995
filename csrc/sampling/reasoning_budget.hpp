#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/options.hpp"
#include "llama/model.hpp"

namespace tea {

// Ends a model's reasoning when it has taken its tokens: the ones that end it are then given instead of
// sampled.
//
// One per request, used by one thread at a time.
class ReasoningBudget {
  public:
    ReasoningBudget(const Model& model, const ReasoningOptions& options);

    bool is_active() const { return state_ != State::over; }
    // The token that must come next, if one must.
    std::optional<int32_t> forced() const;
    // Appends a token, whose text is `piece`, to the answer; control tokens, too.
    void accept(const std::string& piece);

  private:
    enum class State { before, inside, forcing, over };

    ReasoningOptions options_;
    std::vector<int32_t> end_tokens_;
    State state_ = State::over;
    int64_t n_left_ = 0;
    size_t n_forced_ = 0;
    std::string tail_;  // of the answer, as long as what may have to be found in it
};

}  // namespace tea
