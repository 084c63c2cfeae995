#include "engine/embedder.hpp"

#include <algorithm>
#include <exception>
#include <numeric>
#include <string>
#include <utility>

#include "engine/error.hpp"

namespace tea {

namespace {

// Tokens of a step, unless one text has more: enough to share the weights. Attention is computed of all
// tokens with all of a step, but flash attention leaves out what the mask hides (docs/embeddings.md has
// figures).
constexpr int32_t n_room_flash = 256;
constexpr int32_t n_room_plain = 96;
constexpr uint32_t most_texts_per_step = 64;
constexpr int32_t n_ctx_unknown = 512;

enum llama_pooling_type pooling_type(const Model& model, Pooling pooling) {
    switch (pooling) {
        case Pooling::none:
            return LLAMA_POOLING_TYPE_NONE;
        case Pooling::mean:
            return LLAMA_POOLING_TYPE_MEAN;
        case Pooling::cls:
            return LLAMA_POOLING_TYPE_CLS;
        case Pooling::last:
            return LLAMA_POOLING_TYPE_LAST;
        case Pooling::rank:
            return LLAMA_POOLING_TYPE_RANK;
        case Pooling::from_model:
            break;
    }
    // A model without pooling (a chat model, mostly): the mean of its last layer.
    return model.pooling() == "none" ? LLAMA_POOLING_TYPE_MEAN : LLAMA_POOLING_TYPE_UNSPECIFIED;
}

// In half precision, and nearly twice as fast: no loss where the weights have no more.
bool takes_flash_attention(const Model& model) {
    const auto n_params = static_cast<double>(llama_model_n_params(model.handle()));
    return static_cast<double>(llama_model_size(model.handle())) < 3.9 * n_params;  // bytes
}

}  // namespace

Embedder::Embedder(std::shared_ptr<const Model> model, int32_t n_threads, bool adapts_threads,
                   Pooling pooling)
    : model_(std::move(model)),
      n_threads_(n_threads),
      adapts_threads_(adapts_threads),
      pooling_(pooling),
      n_room_(takes_flash_attention(*model_) ? n_room_flash : n_room_plain) {
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
}

Embedder::~Embedder() {
    if (fork_stamp_.is_foreign()) {
        (void)batch_.release();
        (void)context_.release();
        (void)threads_.release();
    }
}

int32_t Embedder::n_out() const {
    return pooling_ == Pooling::rank ? static_cast<int32_t>(llama_model_n_cls_out(model_->handle()))
                                     : llama_model_n_embd_out(model_->handle());
}

int32_t Embedder::n_longest() const {
    return model_->n_ctx_train() > 0 ? model_->n_ctx_train() : n_ctx_unknown;
}

// Returns the longest one.
size_t Embedder::check_lengths(const Texts& texts) const {
    size_t longest = 0;
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
        longest = std::max(longest, text.size());
    }
    return longest;
}

void Embedder::check_open() const {
    fork_stamp_.check();
    if (is_closed_) {
        throw Error(ErrorKind::engine_closed, "the model was closed");
    }
}

template <typename Work>
void Embedder::guarded(Work work) {
    try {
        work();
    } catch (const runtime::Aborted& abort) {
        (void)batch_.release();  // in an unknown state: leaked
        (void)context_.release();
        (void)threads_.release();
        throw Error(ErrorKind::inference, std::string("llama.cpp gave up on an embedding: ") + abort.what());
    }
}

std::vector<Embedder::Step> Embedder::plan(const Texts& texts) {
    const auto longest = static_cast<int32_t>(check_lengths(texts));
    const std::lock_guard lock(mutex_);
    check_open();
    guarded([&] {
        int32_t n_batch = std::max(n_batch_, std::min(n_room_, n_longest()));
        while (n_batch < longest) {
            n_batch = std::min(2 * n_batch, n_longest());
        }
        if (!context_ || n_batch > n_batch_) {
            make_context(n_batch);
        }
    });
    return pack(texts);
}

void Embedder::embed(const Texts& texts, const Step& step, float* out) {
    const std::lock_guard lock(mutex_);
    check_open();
    guarded([&] {
        if (!context_) {  // lost by another call
            make_context(n_batch_);
        }
        fill_batch(texts, step);
        compute();
        read(texts, step, out);
    });
}

void Embedder::make_context(int32_t n_batch) {
    const runtime::LogCapture capture;
    const runtime::AbortGuard guard;
    batch_.reset();
    context_.reset();
    if (!threads_) {
        threads_ = std::make_unique<ComputeThreads>(n_threads_, adapts_threads_);
    }
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<uint32_t>(n_batch + most_texts_per_step - 1) / most_texts_per_step *
                   most_texts_per_step;  // or llama.cpp reserves a graph that it refuses itself
    params.n_batch = params.n_ctx;
    params.n_ubatch = params.n_ctx;  // pooling needs all tokens of a text in one
    params.n_seq_max = most_texts_per_step;
    params.pooling_type = pooling_type(*model_, pooling_);
    params.embeddings = true;
    params.flash_attn_type =
        n_room_ == n_room_flash ? LLAMA_FLASH_ATTN_TYPE_AUTO : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.kv_unified = true;
    params.no_perf = true;
    context_.reset(llama_init_from_model(model_->handle(), params));
    guard.check();
    if (!context_) {
        throw Error(ErrorKind::inference, "no context for embeddings could be made: " +
                                              capture.last_lines("llama.cpp gave no reason"));
    }
    threads_->attach(context_.get());
    batch_.reset(llama_batch_ext_init(context_.get()));
    n_batch_ = n_batch;
}

// Longest first, each into the first step with room: steps are full, and texts in one are about as long.
std::vector<Embedder::Step> Embedder::pack(const Texts& texts) const {
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
    constexpr size_t n_most = most_texts_per_step;
    const auto n_room = static_cast<size_t>(std::min(n_room_, n_batch_));
    std::vector<Step> steps;
    size_t first_open = 0;  // steps before it have no room for the shortest text
    for (const size_t index : order) {
        const size_t n_tokens = texts[index].size();
        const auto fits = [&](const Step& step) {
            return step.texts.size() < n_most && step.n_tokens + n_tokens <= n_room;
        };
        // A text longer than the room gets a step of its own.
        auto step = std::find_if(steps.begin() + static_cast<std::ptrdiff_t>(first_open), steps.end(), fits);
        if (step == steps.end()) {
            step = steps.insert(steps.end(), Step{});
        }
        step->texts.push_back(index);
        step->rows.push_back(rows[index]);
        step->n_tokens += n_tokens;
        const size_t n_shortest = texts[order.back()].size();
        while (first_open < steps.size() && (steps[first_open].texts.size() == n_most ||
                                             steps[first_open].n_tokens + n_shortest > n_room)) {
            ++first_open;
        }
    }
    return steps;
}

void Embedder::fill_batch(const Texts& texts, const Step& step) {
    llama_batch_ext_clear(batch_.get());
    for (size_t i = 0; i < step.texts.size(); ++i) {
        llama_pos position = 0;
        for (const int32_t token : texts[step.texts[i]]) {
            const int32_t index =
                llama_batch_ext_add_token(batch_.get(), static_cast<llama_seq_id>(i), token);
            if (index < 0) {
                throw Error(ErrorKind::inference, "token " + std::to_string(token) + " was refused");
            }
            llama_batch_ext_set_pos(batch_.get(), index, &position);
            llama_batch_ext_set_output_embd(batch_.get(), index, true);
            ++position;
        }
    }
}

void Embedder::read(const Texts& texts, const Step& step, float* out) const {
    const auto n = static_cast<size_t>(n_out());
    int32_t row = 0;  // of the batch
    for (size_t i = 0; i < step.texts.size(); ++i) {
        float* target = out + step.rows[i] * n;
        const size_t n_rows = gives_tokens() ? texts[step.texts[i]].size() : 1;
        for (size_t k = 0; k < n_rows; ++k, target += n) {
            const float* vector =
                gives_tokens() ? llama_get_embeddings_ith(context_.get(), row++)
                               : llama_get_embeddings_seq(context_.get(), static_cast<llama_seq_id>(i));
            if (vector == nullptr) {
                throw Error(ErrorKind::embedding_not_supported, "llama.cpp gave no vector for a text");
            }
            std::copy(vector, vector + n, target);
        }
    }
}

void Embedder::compute() {
    threads_->begin_step(context_.get());
    const runtime::AbortGuard guard;
    int32_t code = -3;
    try {
        if (llama_memory_t memory = llama_get_memory(context_.get()); memory != nullptr) {
            llama_memory_clear(memory, /*data=*/false);
        }
        code = llama_process(context_.get(), LLAMA_PROCESS_TYPE_DECODE, batch_.get());
        llama_synchronize(context_.get());
    } catch (const runtime::Aborted&) {
        throw;
    } catch (const std::exception&) {
        code = -3;  // a buffer could not be had
    }
    threads_->end_step(/*is_computed=*/code == 0);
    guard.check();
    if (code != 0) {
        throw Error(ErrorKind::inference, "llama.cpp could not compute embeddings (code " +
                                              std::to_string(code) + "; out of memory?)");
    }
}

void Embedder::close() {
    if (fork_stamp_.is_foreign()) {
        return;
    }
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    batch_.reset();
    context_.reset();
    threads_.reset();
}

}  // namespace tea
