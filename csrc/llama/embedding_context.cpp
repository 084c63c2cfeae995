#include "llama/embedding_context.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "llama.h"
#include "llama/abort_guard.hpp"
#include "llama/log.hpp"

namespace tea {

namespace {

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

}  // namespace

EmbeddingContext::EmbeddingContext(std::shared_ptr<const Model> model, Pooling pooling,
                                   bool takes_flash_attention, int32_t n_out, int32_t n_usual)
    : model_(std::move(model)),
      pooling_(pooling),
      takes_flash_attention_(takes_flash_attention),
      n_out_(n_out),
      n_usual_(n_usual) {}

EmbeddingContext::~EmbeddingContext() {
    if (fork_stamp_.is_foreign()) {
        leak();
    }
}

void EmbeddingContext::leak() {
    batch_.leak();
    context_.leak();
    (void)threads_.release();
}

void EmbeddingContext::compute(const Texts& texts, const EmbeddingStep& step, int32_t n_threads, float* out) {
    const std::lock_guard lock(mutex_);
    if (is_closed_) {
        throw Error(ErrorKind::engine_closed, "the model was closed");
    }
    try {
        runtime::guarded(ErrorKind::inference, "llama.cpp gave up on an embedding",
                         [&](const runtime::Guard& guard) {
                             make_for(guard, static_cast<int32_t>(step.n_tokens), n_threads);
                             threads_->resize(context_, n_threads);
                             fill_batch(guard, texts, step);
                             run(guard);
                             threads_->free_retired();
                             read(guard, texts, step, out);
                         });
    } catch (const runtime::Aborted&) {
        leak();  // in an unknown state
        throw;
    }
}

void EmbeddingContext::make_for(const runtime::Guard& guard, int32_t n_tokens, int32_t n_threads) {
    if (context_ && n_tokens <= n_batch_) {
        return;
    }
    int32_t n_batch = std::max(n_batch_, n_usual_);
    while (n_batch < n_tokens) {
        n_batch *= 2;
    }
    make(guard, n_batch, n_threads);
}

void EmbeddingContext::make(const runtime::Guard& guard, int32_t n_batch, int32_t n_threads) {
    const runtime::LogCapture capture;
    batch_.reset();
    context_.reset();
    if (!threads_) {
        threads_ = std::make_unique<ThreadTeam>(n_threads);
    }
    llama_context_params params = llama_context_default_params();
    params.n_ctx = (static_cast<uint32_t>(n_batch) + max_texts - 1) / max_texts *
                   max_texts;  // or llama.cpp reserves a graph that it refuses itself
    params.n_batch = params.n_ctx;
    params.n_ubatch = params.n_ctx;  // pooling needs all tokens of a text in one
    params.n_seq_max = max_texts;
    params.pooling_type = pooling_type(*model_, pooling_);
    params.embeddings = true;
    params.flash_attn_type =
        takes_flash_attention_ ? LLAMA_FLASH_ATTN_TYPE_AUTO : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.kv_unified = true;
    params.no_perf = true;
    context_ = Handle<llama_context>(llama_init_from_model(model_->handle(guard), params));
    guard.check();
    if (!context_) {
        throw Error(ErrorKind::inference, "no context for embeddings could be made: " +
                                              capture.last_lines("llama.cpp gave no reason"));
    }
    threads_->attach(context_);
    batch_ = Handle<llama_batch_ext>(llama_batch_ext_init(context_.get(guard)));
    n_batch_ = n_batch;
}

void EmbeddingContext::fill_batch(const runtime::Guard& guard, const Texts& texts,
                                  const EmbeddingStep& step) {
    llama_batch_ext_clear(batch_.get(guard));
    for (size_t i = 0; i < step.texts.size(); ++i) {
        llama_pos position = 0;
        for (const int32_t token : texts[step.texts[i]]) {
            const int32_t index =
                llama_batch_ext_add_token(batch_.get(guard), static_cast<llama_seq_id>(i), token);
            if (index < 0) {
                throw Error(ErrorKind::inference, "token " + std::to_string(token) + " was refused");
            }
            llama_batch_ext_set_pos(batch_.get(guard), index, &position);
            llama_batch_ext_set_output_embd(batch_.get(guard), index, true);
            ++position;
        }
    }
}

void EmbeddingContext::run(const runtime::Guard& guard) {
    int32_t code = -3;
    try {
        if (llama_memory_t memory = llama_get_memory(context_.get(guard)); memory != nullptr) {
            // A NaN that the last step left would reach all texts where attention multiplies it by zero.
            llama_memory_clear(memory, /*data=*/!is_memory_finite_);
        }
        code = llama_process(context_.get(guard), LLAMA_PROCESS_TYPE_DECODE, batch_.get(guard));
        llama_synchronize(context_.get(guard));
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

void EmbeddingContext::read(const runtime::Guard& guard, const Texts& texts, const EmbeddingStep& step,
                            float* out) {
    const auto n = static_cast<size_t>(n_out_);
    is_memory_finite_ = true;
    int32_t row = 0;  // of the batch
    for (size_t i = 0; i < step.texts.size(); ++i) {
        float* target = out + step.rows[i] * n;
        const size_t n_rows = pooling_ == Pooling::none ? texts[step.texts[i]].size() : 1;
        for (size_t k = 0; k < n_rows; ++k, target += n) {
            const float* vector =
                pooling_ == Pooling::none
                    ? llama_get_embeddings_ith(context_.get(guard), row++)
                    : llama_get_embeddings_seq(context_.get(guard), static_cast<llama_seq_id>(i));
            if (vector == nullptr) {
                throw Error(ErrorKind::embedding_not_supported, "llama.cpp gave no vector for a text");
            }
            std::copy(vector, vector + n, target);
            is_memory_finite_ = is_memory_finite_ &&
                                std::all_of(vector, vector + n, [](float x) { return std::isfinite(x); });
        }
    }
}

void EmbeddingContext::close() {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    batch_.reset();
    context_.reset();
    threads_.reset();
}

}  // namespace tea
