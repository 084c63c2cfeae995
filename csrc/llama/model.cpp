#include "llama/model.hpp"

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "base/error.hpp"
#include "llama.h"
#include "llama/abort_guard.hpp"
#include "llama/log.hpp"
#include "llama/model_header.hpp"
#include "llama/runtime.hpp"

namespace tea {

namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& reason) {
    throw Error(ErrorKind::model_load, "cannot load '" + path + "': " + reason);
}

struct LoadState {
    const Model::Progress* progress;
    bool was_cancelled = false;
};

bool on_progress(float fraction, void* user_data) {
    auto* state = static_cast<LoadState*>(user_data);
    state->was_cancelled = *state->progress && !(*state->progress)(fraction);
    return !state->was_cancelled;
}

llama_load_mode load_mode(const ModelOptions& options) {
    if (options.layout_only) {
        return LLAMA_LOAD_MODE_NONE;
    }
    if (options.use_mlock) {
        return options.use_mmap ? LLAMA_LOAD_MODE_MMAP_MLOCK : LLAMA_LOAD_MODE_MLOCK;
    }
    return options.use_mmap ? LLAMA_LOAD_MODE_AUTO : LLAMA_LOAD_MODE_NONE;
}

void check_options(const ModelOptions& options, const std::vector<float>& split) {
    if (options.n_gpu_layers > 0 && !llama_supports_gpu_offload()) {
        throw Error(ErrorKind::invalid_argument,
                    "n_gpu_layers=" + std::to_string(options.n_gpu_layers) +
                        ": this build of tea-llm found no GPU; use \"auto\" or 0");
    }
    if (split.size() > llama_max_devices()) {
        throw Error(ErrorKind::invalid_argument, "tensor_split has " + std::to_string(split.size()) +
                                                     " entries, at most " +
                                                     std::to_string(llama_max_devices()) + " are possible");
    }
}

// Metadata in place of the file's: so many tokens, and no texts of them. Reading those takes most of the time
// of a load that reads no weights.
std::array<llama_model_kv_override, 3> without_vocabulary(const std::string& architecture, int32_t n_vocab) {
    std::array<llama_model_kv_override, 3> overrides{};  // an empty key ends the list
    const auto set_key = [](llama_model_kv_override& override, const std::string& key) {
        key.copy(override.key, sizeof override.key - 1);
    };
    set_key(overrides[0], "tokenizer.ggml.model");
    overrides[0].tag = LLAMA_KV_OVERRIDE_TYPE_STR;
    std::string("none").copy(overrides[0].val_str, sizeof overrides[0].val_str - 1);
    set_key(overrides[1], architecture + ".vocab_size");
    overrides[1].tag = LLAMA_KV_OVERRIDE_TYPE_INT;
    overrides[1].val_i64 = n_vocab;
    return overrides;
}

}  // namespace

ggml_type ggml_type_of(KvType type) {
    switch (type) {
        case KvType::f32:
            return GGML_TYPE_F32;
        case KvType::f16:
            return GGML_TYPE_F16;
        case KvType::bf16:
            return GGML_TYPE_BF16;
        case KvType::q8_0:
            return GGML_TYPE_Q8_0;
        case KvType::q4_0:
            return GGML_TYPE_Q4_0;
        case KvType::q4_1:
            return GGML_TYPE_Q4_1;
        case KvType::q5_0:
            return GGML_TYPE_Q5_0;
        case KvType::q5_1:
            return GGML_TYPE_Q5_1;
        case KvType::iq4_nl:
            return GGML_TYPE_IQ4_NL;
    }
    return GGML_TYPE_F16;
}

std::shared_ptr<const Model> Model::load(const ModelOptions& options, const Progress& progress) {
    runtime::initialize();
    check_options(options, options.tensor_split);
    auto model = read(options, progress, nullptr);
    const std::string problem = model->find_problem();
    if (!problem.empty()) {
        refuse(options.path, problem);
    }
    return model;
}

std::shared_ptr<const Model> Model::layout() const {
    const runtime::LogCapture capture(/*is_quiet=*/true);
    ModelOptions options = options_;
    options.layout_only = true;
    const auto overrides = without_vocabulary(metadata("general.architecture"), n_vocab_);
    try {
        return read(options, {}, overrides.data());
    } catch (const Error&) {
        return read(options, {}, nullptr);  // an architecture that looks into its vocabulary
    }
}

std::shared_ptr<const Model> Model::read(const ModelOptions& options, const Progress& progress,
                                         const llama_model_kv_override* overrides) {
    const runtime::LogCapture capture;
    LoadState state{&progress};
    auto split = options.tensor_split;
    split.resize(llama_max_devices(), 0.0F);  // llama.cpp copies that many, whatever it is given

    llama_model_params params = llama_model_default_params();
    params.vocab_only = options.vocab_only;
    params.no_alloc = options.layout_only;
    params.n_gpu_layers = options.n_gpu_layers;
    params.main_gpu = options.main_gpu;
    params.tensor_split = options.tensor_split.empty() ? nullptr : split.data();
    params.load_mode = load_mode(options);
    params.progress_callback = on_progress;
    params.progress_callback_user_data = &state;
    params.kv_overrides = overrides;

    llama_model_ptr model;
    try {
        const runtime::AbortGuard guard;
        // With overrides it was looked at before.
        const std::string problem =
            overrides == nullptr ? find_header_problem(options.path, options.vocab_only) : "";
        if (!problem.empty()) {
            refuse(options.path, capture.last_lines(problem));
        }
        model.reset(llama_model_load_from_file(options.path.c_str(), params));
        guard.check();
        if (model) {
            std::shared_ptr<Model> loaded(new Model(std::move(model), options));
            guard.check();
            return loaded;
        }
    } catch (const runtime::Aborted& abort) {
        (void)model.release();  // in an unknown state: leaked
        refuse(options.path, std::string("llama.cpp gave up on it: ") + abort.what());
    } catch (const std::bad_alloc&) {
        refuse(options.path, "there is not enough memory");
    }
    if (state.was_cancelled) {
        throw Error(ErrorKind::cancelled, "loading '" + options.path + "' was cancelled");
    }
    refuse(options.path, capture.last_lines("llama.cpp gave no reason"));
}

std::string Model::find_problem() const {
    if (llama_vocab_type(vocab_) == LLAMA_VOCAB_TYPE_NONE) {
        return "it holds no vocabulary (tokenizer.ggml.model is no_vocab or none): tea-llm needs one to "
               "turn text into tokens";
    }
    if (llama_model_rope_type(model_.get()) != LLAMA_ROPE_TYPE_NONE) {
        for (const char* name : {".rope.dimension_count", ".rope.dimension_count_swa"}) {
            const std::string key = metadata("general.architecture") + name;
            if (metadata(key) == "0") {
                return key + " is 0, with which llama.cpp would compute for ever";
            }
        }
    }
    return {};
}

Model::Model(llama_model_ptr model, const ModelOptions& options)
    : options_(options),
      model_(std::move(model)),
      vocab_(llama_model_get_vocab(model_.get())),
      n_vocab_(llama_vocab_n_tokens(vocab_)),
      is_eog_(static_cast<size_t>(n_vocab_)) {
    for (int32_t token = 0; token < n_vocab_; ++token) {
        if (llama_vocab_is_eog(vocab_, token)) {
            is_eog_[static_cast<size_t>(token)] = true;
            eog_tokens_.push_back(token);
        }
    }
    int32_t n_suppressed = 0;
    const llama_token* suppressed = llama_vocab_get_suppress_tokens(vocab_, &n_suppressed);
    for (int32_t i = 0; i < n_suppressed; ++i) {
        if (suppressed[i] >= 0 && suppressed[i] < n_vocab_) {
            suppressed_tokens_.push_back(suppressed[i]);
        }
    }
}

Model::~Model() {
    if (fork_stamp_.is_foreign()) {
        (void)model_.release();
    }
}

int32_t Model::n_ctx_train() const {
    return llama_model_n_ctx_train(model_.get());
}

int32_t Model::n_ctx_original() const {
    const std::string stated =
        metadata(metadata("general.architecture") + ".rope.scaling.original_context_length");
    const int32_t n = stated.empty() ? 0 : std::atoi(stated.c_str());
    return n > 0 ? n : n_ctx_train();
}

int32_t Model::n_swa() const {
    return llama_model_n_swa(model_.get());
}

MemoryClass Model::memory_class() const {
    const llama_model* model = model_.get();
    if (is_vocab_only() || !llama_model_has_decoder(model) || llama_model_has_encoder(model) ||
        llama_model_is_diffusion(model) ||
        metadata(metadata("general.architecture") + ".attention.causal") == "false") {
        return MemoryClass::none;
    }
    if (llama_model_is_recurrent(model) || llama_model_is_hybrid(model)) {
        return MemoryClass::recurrent;
    }
    return n_swa() > 0 ? MemoryClass::windowed : MemoryClass::full;
}

std::vector<SpecialToken> Model::control_tokens() const {
    std::vector<SpecialToken> tokens;
    for (int32_t id = 0; id < n_vocab_; ++id) {
        const llama_token_attr attr = llama_vocab_get_attr(vocab_, id);
        if ((attr & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)) != 0) {
            std::string text = llama_vocab_get_text(vocab_, id);
            if (!text.empty()) {
                tokens.push_back({id, std::move(text), (attr & LLAMA_TOKEN_ATTR_LSTRIP) != 0,
                                  (attr & LLAMA_TOKEN_ATTR_RSTRIP) != 0});
            }
        }
    }
    return tokens;
}

std::string Model::metadata(const std::string& key) const {
    std::string value;
    const int32_t n_chars = llama_model_meta_val_str(model_.get(), key.c_str(), nullptr, 0);
    if (n_chars > 0) {
        value.resize(static_cast<size_t>(n_chars) + 1);
        llama_model_meta_val_str(model_.get(), key.c_str(), value.data(), value.size());
        value.resize(static_cast<size_t>(n_chars));
    }
    return value;
}

std::string Model::chat_template() const {
    const char* text = llama_model_chat_template(model_.get(), nullptr);
    return text == nullptr ? "" : text;
}

std::string Model::description() const {
    std::array<char, 256> buffer{};
    llama_model_desc(model_.get(), buffer.data(), buffer.size());
    return buffer.data();
}

uint64_t Model::size_bytes() const {
    return llama_model_size(model_.get());
}

uint64_t Model::n_params() const {
    return llama_model_n_params(model_.get());
}

std::string Model::pooling() const {
    const std::string value = metadata(metadata("general.architecture") + ".pooling_type");
    constexpr std::array<const char*, 5> names{"none", "mean", "cls", "last", "rank"};  // llama_pooling_type
    const auto index = static_cast<size_t>(value.empty() ? 0 : std::atoi(value.c_str()));
    return index < names.size() ? names[index] : names[0];
}

bool Model::can_embed() const {
    const llama_model* model = model_.get();
    return !is_vocab_only() && !llama_model_has_encoder(model) && !llama_model_is_diffusion(model);
}

}  // namespace tea
