#include "engine/embedder.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <numeric>
#include <string>
#include <thread>
#include <utility>

#include "base/error.hpp"

namespace tea {

namespace {

// Tokens of a step, unless one text has more: enough to share the weights. Attention is computed of all
// tokens with all of a step, but flash attention leaves out what the mask hides (docs/embeddings.md has
// figures).
constexpr int32_t n_room_flash = 128;
constexpr int32_t n_room_plain = 96;
constexpr size_t n_side_by_side = 1024;  // tokens of the largest: memory for as many as there are threads
constexpr int32_t n_ctx_unknown = 512;
constexpr std::chrono::milliseconds not_wanted_for{5};

// In half precision, and nearly twice as fast: no loss where the weights have no more.
bool takes_flash_attention(const Model& model) {
    return static_cast<double>(model.size_bytes()) < 3.9 * static_cast<double>(model.n_params());
}

int32_t n_out_of(const Model& model, Pooling pooling) {
    return pooling == Pooling::rank ? model.n_cls_out() : model.n_embd_out();
}

}  // namespace

Embedder::Embedder(std::shared_ptr<const Model> model, int32_t n_threads, bool adapts_threads,
                   Pooling pooling)
    : model_(std::move(model)),
      pooling_(pooling),
      n_out_(n_out_of(*model_, pooling)),
      n_room_(takes_flash_attention(*model_) ? n_room_flash : n_room_plain),
      budget_(n_threads, adapts_threads) {
    if (!model_->can_embed()) {
        throw Error(ErrorKind::embedding_not_supported,
                    "this model gives no embeddings (its kind: " + model_->description() + ")");
    }
    const bool is_ranker = model_->pooling() == "rank";
    if (pooling_ == Pooling::rank && !is_ranker) {
        throw Error(ErrorKind::embedding_not_supported,
                    "this model ranks nothing: its file does not say that it is a reranker");
    }
    if (pooling_ == Pooling::from_model && is_ranker) {
        throw Error(ErrorKind::embedding_not_supported,
                    "this model ranks texts, and gives no vectors of them");
    }
    for (int32_t i = 0; i < n_threads; ++i) {
        contexts_.push_back(std::make_unique<EmbeddingContext>(model_, pooling_, n_room_ == n_room_flash,
                                                               n_out_, std::min(n_room_, n_longest())));
    }
}

int32_t Embedder::n_longest() const {
    return model_->n_ctx_train() > 0 ? model_->n_ctx_train() : n_ctx_unknown;
}

void Embedder::check_lengths(const Texts& texts) const {
    for (const auto& text : texts) {
        if (text.empty()) {
            throw Error(ErrorKind::invalid_argument, "a text has no tokens");
        }
        if (static_cast<int64_t>(text.size()) > n_longest()) {
            Error error(ErrorKind::context_overflow, "a text of " + std::to_string(text.size()) +
                                                         " tokens cannot be embedded: this model takes " +
                                                         std::to_string(n_longest()));
            error.n_prompt = static_cast<int64_t>(text.size());
            error.n_ctx = n_longest();
            throw error;
        }
    }
}

int32_t Embedder::begin_step() {
    const std::lock_guard lock(mutex_);
    return std::min(budget_.begin_step(), static_cast<int32_t>(contexts_.size()));
}

void Embedder::end_step() {
    const std::lock_guard lock(mutex_);
    budget_.end_step();
}

void Embedder::embed(const Texts& texts, float* out, const std::function<void()>& between_steps) {
    fork_stamp_.check();
    check_lengths(texts);
    const auto steps = pack(texts);
    // The longest come first, and are computed by all threads; so is what is only one step.
    size_t n_alone = 0;
    while (n_alone < steps.size() && steps[n_alone].n_tokens > n_side_by_side) {
        ++n_alone;
    }
    if (n_alone + 1 == steps.size()) {
        ++n_alone;
    }
    for (size_t i = 0; i < n_alone; ++i) {
        contexts_[0]->compute(texts, steps[i], begin_step(), out);
        end_step();
        between_steps();
    }
    if (n_alone < steps.size()) {
        embed_side_by_side(texts, steps, n_alone, out, between_steps);
    }
}

void Embedder::embed_side_by_side(const Texts& texts, const std::vector<EmbeddingStep>& steps, size_t first,
                                  float* out, const std::function<void()>& between_steps) {
    std::atomic<size_t> next{first};
    std::atomic<int32_t> n_wanted{begin_step()};
    std::mutex error_mutex;
    std::exception_ptr error;
    const auto work = [&](int32_t place, const std::function<void()>& after_step) {
        be_ready_to_throw();
        try {
            while (next.load() < steps.size()) {
                if (place >= n_wanted.load()) {
                    std::this_thread::sleep_for(not_wanted_for);
                    continue;
                }
                const size_t index = next.fetch_add(1);
                if (index >= steps.size()) {
                    break;
                }
                contexts_[static_cast<size_t>(place)]->compute(texts, steps[index], /*n_threads=*/1, out);
                after_step();
            }
        } catch (...) {
            const std::lock_guard lock(error_mutex);
            error = error ? error : std::current_exception();
            next.store(steps.size());
        }
    };
    std::vector<std::thread> others;
    try {
        const auto n_useful = static_cast<int32_t>(std::min(steps.size() - first, contexts_.size()));
        for (int32_t place = 1; place < n_useful; ++place) {
            others.emplace_back(work, place, [] {});
        }
    } catch (const std::exception&) {  // no more threads, or no memory for one
    }
    work(0, [&] {
        n_wanted.store(begin_step());
        between_steps();
    });
    for (auto& other : others) {
        other.join();
    }
    end_step();
    if (error) {
        std::rethrow_exception(error);
    }
}

// Longest first, each into the first step with room: steps are full, and texts in one are about as long.
std::vector<EmbeddingStep> Embedder::pack(const Texts& texts) const {
    std::vector<size_t> rows;
    size_t n_rows = 0;
    for (const auto& text : texts) {
        rows.push_back(n_rows);
        n_rows += gives_tokens() ? text.size() : 1;
    }
    std::vector<size_t> order(texts.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return texts[a].size() > texts[b].size(); });
    constexpr size_t max_texts = EmbeddingContext::max_texts;
    const auto n_room = static_cast<size_t>(std::min(n_room_, n_longest()));
    std::vector<EmbeddingStep> steps;
    size_t first_open = 0;  // steps before it have no room for the shortest text
    for (const size_t index : order) {
        const size_t n_tokens = texts[index].size();
        const auto fits = [&](const EmbeddingStep& step) {
            return step.texts.size() < max_texts && step.n_tokens + n_tokens <= n_room;
        };
        // A text longer than the room gets a step of its own.
        auto step = std::find_if(steps.begin() + static_cast<std::ptrdiff_t>(first_open), steps.end(), fits);
        if (step == steps.end()) {
            step = steps.insert(steps.end(), EmbeddingStep{});
        }
        step->texts.push_back(index);
        step->rows.push_back(rows[index]);
        step->n_tokens += n_tokens;
        const size_t n_shortest = texts[order.back()].size();
        while (first_open < steps.size() && (steps[first_open].texts.size() == max_texts ||
                                             steps[first_open].n_tokens + n_shortest > n_room)) {
            ++first_open;
        }
    }
    return steps;
}

void Embedder::close() {
    if (fork_stamp_.is_foreign()) {
        return;
    }
    for (const auto& context : contexts_) {
        context->close();
    }
}

}  // namespace tea
