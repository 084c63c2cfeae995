#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/options.hpp"
#include "llama/fork_stamp.hpp"
#include "llama/handle.hpp"

struct llama_model_kv_override;
struct llama_vocab;

namespace tea {

// How much of a sequence's past a model's memory keeps.
enum class MemoryClass {
    full,       // every position is kept: any prefix can be resumed
    windowed,   // old positions leave a sliding window
    recurrent,  // one state per sequence: only its very end can be resumed
    none,       // no memory: the model does not generate
};

struct SpecialToken {
    int32_t id;
    std::string text;
    bool strips_left;   // white space before it belongs to it
    bool strips_right;  // white space after it belongs to it
};

// A loaded model file, read-only and safe to use from any thread.
class Model {
  public:
    // Called with 0..1 while weights are read; false cancels.
    using Progress = std::function<bool(float)>;

    // Throws Error{model_load} with llama.cpp's last words, {cancelled} when progress said so, or
    // {invalid_argument} for an option that cannot be honoured here.
    static std::shared_ptr<const Model> load(const ModelOptions& options, const Progress& progress);

    // The same model without its weights and without its vocabulary's texts: for Footprint.
    // Throws Error{model_load} when the file is not there any more, or has changed.
    std::shared_ptr<const Model> layout() const;

    ~Model();
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;

    llama_model* handle(const runtime::Guard& guard) const { return model_.get(guard); }
    const llama_vocab* vocab(const runtime::Guard& /*proof*/) const { return vocab_; }

    int32_t n_vocab() const { return n_vocab_; }
    int32_t n_ctx_train() const { return facts_.n_ctx_train; }
    int32_t n_ctx_original() const;  // before it was stretched by RoPE scaling
    bool is_vocab_only() const { return options_.vocab_only; }
    MemoryClass memory_class() const { return memory_class_; }
    int32_t n_swa() const { return facts_.n_swa; }
    int32_t n_embd_out() const { return facts_.n_embd_out; }  // floats of a vector
    int32_t n_cls_out() const { return facts_.n_cls_out; }    // scores that its classifier gives a text

    bool is_end_of_generation(int32_t token) const { return is_eog_[static_cast<size_t>(token)]; }
    const std::vector<int32_t>& end_of_generation_tokens() const { return eog_tokens_; }
    // Tokens the model's author says must never be generated.
    const std::vector<int32_t>& suppressed_tokens() const { return suppressed_tokens_; }
    // Tokens whose text has control meaning; the same text inside a message must not become them.
    std::vector<SpecialToken> control_tokens() const;

    // Each token's text as the file spells it.
    std::vector<std::string> token_texts() const;
    int32_t bos() const { return facts_.bos; }  // -1: it has none, as the other two
    int32_t eos() const { return facts_.eos; }
    int32_t sep() const { return facts_.sep; }
    // Whether texts get them, at their beginning and end.
    bool adds_bos() const { return facts_.adds_bos; }
    bool adds_eos() const { return facts_.adds_eos; }
    bool adds_sep() const { return facts_.adds_sep; }

    // Scalar metadata of the file, as text. Empty when there is no such key.
    std::string metadata(const std::string& key) const;
    std::string chat_template() const;  // empty: the file has none
    std::string description() const;    // "llama 135M Q4_1", in llama.cpp's words
    uint64_t size_bytes() const { return facts_.size_bytes; }
    uint64_t n_params() const { return facts_.n_params; }
    // How this model makes one vector of a text's many: "mean", "cls", "last", "rank", or "none" when the
    // file does not say.
    std::string pooling() const;
    // Whether it gives vectors that can be used: no encoder-decoder, no diffusion.
    bool can_embed() const;
    // Whether weights are read from a mapped file, and may leave memory until they are.
    bool is_mapped() const { return options_.use_mmap && !options_.use_mlock; }
    // Whether no GPU computes any of it.
    bool is_on_cpu() const;
    // The types of its matrices ("q4_K"), and whether our kernels multiply them on the CPU.
    std::map<std::string, bool> weight_types() const;
    // Whether our kernels compute all products with weights on the CPU, and all attention (with a cache of
    // F16).
    bool has_our_products() const;
    bool has_our_attention() const;

  private:
    static std::shared_ptr<const Model> read(const ModelOptions& options, const Progress& progress,
                                             const llama_model_kv_override* overrides);
    // llama.cpp's facts about a model, asked for once.
    struct Facts {
        int32_t n_ctx_train;
        int32_t n_swa;
        int32_t n_embd_out;
        int32_t n_cls_out;
        uint64_t size_bytes;
        uint64_t n_params;
        bool has_encoder;
        bool has_decoder;
        bool is_diffusion;
        bool is_recurrent;
        int32_t bos;
        int32_t eos;
        int32_t sep;
        bool adds_bos;
        bool adds_eos;
        bool adds_sep;
        bool has_vocabulary;
        bool has_rope;
    };

    Model(const runtime::Guard& guard, Handle<llama_model> model, const ModelOptions& options);
    static Facts facts_of(const llama_model* model, const llama_vocab* vocab);
    MemoryClass find_memory_class() const;
    std::string find_problem() const;  // a fault that llama.cpp's loader accepts; empty: none

    ModelOptions options_;
    Handle<llama_model> model_;
    const llama_vocab* vocab_;
    Facts facts_;
    MemoryClass memory_class_;
    int32_t n_vocab_;
    std::vector<bool> is_eog_;
    std::vector<int32_t> eog_tokens_;
    std::vector<int32_t> suppressed_tokens_;
    runtime::ForkStamp fork_stamp_;
};

}  // namespace tea
