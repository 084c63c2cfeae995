#include "engine/embedder.hpp"

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

#include "engine/error.hpp"

namespace tea {

namespace {

constexpr int32_t usual_batch = 512;
constexpr int32_t most_texts_per_step = 64;
constexpr int32_t n_ctx_unknown = 512;

enum llama_pooling_type chosen_pooling(const Model& model) {
    // A model without pooling (a chat model, mostly): the mean of its last layer.
    return model.pooling() == "none" ? LLAMA_POOLING_TYPE_MEAN : LLAMA_POOLING_TYPE_UNSPECIFIED;
}

}  // namespace

Embedder::Embedder(std::shared_ptr<const Model> model, int32_t n_threads)
    : model_(std::move(model)), n_threads_(n_threads) {
    if (!model_->can_embed()) {
        throw Error(ErrorKind::embedding_not_supported,
                    "this model gives no embeddings (its kind: " + model_->description() + ")");
    }
}

Embedder::~Embedder() {
    if (fork_stamp_.is_foreign()) {
        (void)batch_.release();
        (void)context_.release();
        (void)threadpool_.release();
    }
}

int32_t Embedder::n_embd() const {
    return llama_model_n_embd_out(model_->handle());
}

int32_t Embedder::n_longest() const {
    return model_->n_ctx_train() > 0 ? model_->n_ctx_train() : n_ctx_unknown;
}

void Embedder::check_length(const std::vector<int32_t>& text) const {
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

void Embedder::embed(const std::vector<std::vector<int32_t>>& texts, float* out) {
    fork_stamp_.check();
    size_t longest = 0;
    for (const auto& text : texts) {
        check_length(text);
        longest = std::max(longest, text.size());
    }
    const std::lock_guard lock(mutex_);
    if (is_closed_) {
        throw Error(ErrorKind::engine_closed, "the model was closed");
    }
    try {
        if (!context_ || static_cast<int32_t>(longest) > n_batch_) {
            int32_t n_batch = std::min(usual_batch, n_longest());
            while (n_batch < static_cast<int32_t>(longest)) {
                n_batch = std::min(2 * n_batch, n_longest());
            }
            make_context(n_batch);
        }
        for (size_t begin = 0; begin < texts.size();) {
            const size_t end = fill_batch(texts, begin);
            compute();
            for (size_t i = begin; i < end; ++i) {
                const float* vector =
                    llama_get_embeddings_seq(context_.get(), static_cast<llama_seq_id>(i - begin));
                if (vector == nullptr) {
                    throw Error(ErrorKind::embedding_not_supported, "llama.cpp gave no vector for a text");
                }
                std::copy(vector, vector + n_embd(), out + i * static_cast<size_t>(n_embd()));
            }
            begin = end;
        }
    } catch (const runtime::Aborted& abort) {
        (void)batch_.release();  // in an unknown state: leaked
        (void)context_.release();
        (void)threadpool_.release();
        throw Error(ErrorKind::inference, std::string("llama.cpp gave up on an embedding: ") + abort.what());
    }
}

void Embedder::make_context(int32_t n_batch) {
    const runtime::LogCapture capture;
    const runtime::AbortGuard guard;
    batch_.reset();
    context_.reset();
    if (!threadpool_) {
        threadpool_ = make_threadpool(n_threads_);
    }
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<uint32_t>(n_batch);
    params.n_batch = params.n_ctx;
    params.n_ubatch = params.n_ctx;  // pooling needs all tokens of a text in one
    params.n_seq_max = static_cast<uint32_t>(std::min(most_texts_per_step, n_batch));
    params.n_threads = n_threads_;
    params.n_threads_batch = n_threads_;
    params.pooling_type = chosen_pooling(*model_);
    params.embeddings = true;
    params.kv_unified = true;
    params.no_perf = true;
    context_.reset(llama_init_from_model(model_->handle(), params));
    guard.check();
    if (!context_) {
        throw Error(ErrorKind::inference, "no context for embeddings could be made: " +
                                              capture.last_lines("llama.cpp gave no reason"));
    }
    llama_attach_threadpool(context_.get(), threadpool_.get(), threadpool_.get());
    batch_.reset(llama_batch_ext_init(context_.get()));
    n_batch_ = n_batch;
}

// Puts texts from `begin` on into the batch, each as its own sequence, while they fit. Returns the first
// that did not.
size_t Embedder::fill_batch(const std::vector<std::vector<int32_t>>& texts, size_t begin) {
    const auto n_most = std::min<size_t>(most_texts_per_step, static_cast<size_t>(n_batch_));
    llama_batch_ext_clear(batch_.get());
    size_t n_tokens = 0;
    size_t end = begin;
    for (; end < texts.size() && end - begin < n_most; ++end) {
        n_tokens += texts[end].size();
        if (n_tokens > static_cast<size_t>(n_batch_)) {
            break;
        }
        llama_pos position = 0;
        for (const int32_t token : texts[end]) {
            const int32_t index =
                llama_batch_ext_add_token(batch_.get(), static_cast<llama_seq_id>(end - begin), token);
            if (index < 0) {
                throw Error(ErrorKind::inference, "token " + std::to_string(token) + " was refused");
            }
            llama_batch_ext_set_pos(batch_.get(), index, &position);
            llama_batch_ext_set_output_embd(batch_.get(), index, true);
            ++position;
        }
    }
    return end;
}

void Embedder::compute() {
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
    threadpool_.reset();
}

}  // namespace tea
