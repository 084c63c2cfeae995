#include "planning/past_store.hpp"

#include <utility>

#include "planning/sequence_pool.hpp"

namespace tea {

void PastStore::put(SavedPast past) {
    const auto n = static_cast<int32_t>(past.tokens.size());
    for (size_t i = pasts_.size(); i-- > 0;) {
        const auto n_other = static_cast<int32_t>(pasts_[i].tokens.size());
        if (n_other <= n && common_prefix(pasts_[i].tokens, past.tokens, n) == n_other) {
            take(i);
        }
    }
    const size_t n_new = past.state.size();
    pasts_.push_front(std::move(past));
    n_bytes_ += n_new;
    while (n_bytes_ > max_bytes_) {
        take(pasts_.size() - 1);
    }
}

PastStore::Match PastStore::find(const std::vector<int32_t>& tokens) const {
    Match best;
    for (size_t i = 0; i < pasts_.size(); ++i) {
        const int32_t n = common_prefix(pasts_[i].tokens, tokens, static_cast<int32_t>(tokens.size()) - 1);
        if (n > best.n_common) {
            best = {i, n};
        }
    }
    return best;
}

SavedPast PastStore::take(size_t index) {
    SavedPast past = std::move(pasts_[index]);
    pasts_.erase(pasts_.begin() + static_cast<std::ptrdiff_t>(index));
    n_bytes_ -= past.state.size();
    return past;
}

int64_t PastStore::n_tokens() const {
    int64_t n = 0;
    for (const auto& past : pasts_) {
        n += static_cast<int64_t>(past.tokens.size());
    }
    return n;
}

}  // namespace tea
