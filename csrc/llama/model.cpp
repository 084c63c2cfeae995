#include "llama/model.hpp"

#include <array>
#include <cstdlib>
#include <new>
#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "ggml-backend.h"
#include "ggml.h"
#include "llama.h"
#include "llama/abort_guard.hpp"
#include "llama/backend_modules.hpp"
#include "llama/log.hpp"
#include "llama/model_header.hpp"
#include "llama/runtime.hpp"

// Of llama.cpp's src/llama-model.h, which is not among the headers that others include.
const std::vector<std::pair<std::string, ggml_tensor*>>& llama_internal_get_tensor_map(
    const llama_model* model);

namespace tea {

namespace {

using runtime::guarded;

constexpr const char* cannot_tell = "llama.cpp cannot tell about the model";

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

void check_options(const ModelOptions& options) {
    const size_t n_split = options.tensor_split.size();
    if (options.n_gpu_layers > 0 && !llama_supports_gpu_offload()) {
        throw Error(ErrorKind::invalid_argument,
                    "n_gpu_layers=" + std::to_string(options.n_gpu_layers) +
                        ": this build of tea-llm found no GPU; use \"auto\" or 0");
    }
    if (n_split > llama_max_devices()) {
        throw Error(ErrorKind::invalid_argument, "tensor_split has " + std::to_string(n_split) +
                                                     " entries, at most " +
                                                     std::to_string(llama_max_devices()) + " are possible");
    }
}

[[noreturn]] void refuse_unread(const std::string& path, const LoadState& state, const std::string& reason) {
    if (state.was_cancelled) {
        throw Error(ErrorKind::cancelled, "loading '" + path + "' was cancelled");
    }
    refuse(path, reason);
}

Handle<llama_model> load_file(const ModelOptions& options, LoadState& state,
                              const llama_model_kv_override* overrides) {
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
    params.use_extra_bufts = !backend_modules::takes_weights_as_they_are();
    try {
        return Handle<llama_model>(llama_model_load_from_file(options.path.c_str(), params));
    } catch (const std::bad_alloc&) {
        refuse(options.path, "there is not enough memory");
    }
}

// Metadata that replaces the file's: n_vocab tokens without their text. Reading the text takes most of the
// time of a load that reads no weights.
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

std::shared_ptr<const Model> Model::load(const ModelOptions& options, const Progress& progress) {
    runtime::initialize();
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
        return read(options, {}, nullptr);  // an architecture that needs its vocabulary
    }
}

std::shared_ptr<const Model> Model::read(const ModelOptions& options, const Progress& progress,
                                         const llama_model_kv_override* overrides) {
    const runtime::LogCapture capture;
    LoadState state{&progress};
    Handle<llama_model> model;
    try {
        return guarded(
            ErrorKind::model_load, "cannot load '" + options.path + "': llama.cpp gave up on it",
            [&](const runtime::Guard& guard) -> std::shared_ptr<const Model> {
                check_options(options);
                // With overrides, the header has been checked before.
                const std::string problem =
                    overrides == nullptr ? find_header_problem(options.path, options.vocab_only) : "";
                if (!problem.empty()) {
                    refuse(options.path, capture.last_lines(problem));
                }
                model = load_file(options, state, overrides);
                guard.check();
                if (!model) {
                    refuse_unread(options.path, state, capture.last_lines("llama.cpp gave no reason"));
                }
                return std::shared_ptr<const Model>(new Model(guard, std::move(model), options));
            });
    } catch (const runtime::Aborted&) {
        model.leak();  // in an unknown state
        throw;
    }
}

std::string Model::find_problem() const {
    if (!facts_.has_vocabulary) {
        return "it holds no vocabulary (tokenizer.ggml.model is no_vocab or none): tea-llm needs one to "
               "turn text into tokens";
    }
    if (facts_.has_rope) {
        for (const char* name : {".rope.dimension_count", ".rope.dimension_count_swa"}) {
            const std::string key = metadata("general.architecture") + name;
            if (metadata(key) == "0") {
                return key + " is 0, with which llama.cpp would compute for ever";
            }
        }
    }
    return {};
}

bool Model::is_on_cpu() const {
    return options_.n_gpu_layers == 0 ||
           guarded(ErrorKind::inference, "asking for devices", [](const runtime::Guard&) {
               return ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_GPU) == nullptr &&
                      ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_IGPU) == nullptr;
           });
}

std::map<std::string, bool> Model::weight_types() const {
    return guarded(ErrorKind::inference, "listing weights", [&](const runtime::Guard& guard) {
        std::map<std::string, bool> types;
        for (const auto& [name, tensor] : llama_internal_get_tensor_map(handle(guard))) {
            if (ggml_n_dims(tensor) >= 2) {
                const std::string type = ggml_type_name(tensor->type);
                types[type] = backend_modules::multiplies(type);
            }
        }
        return types;
    });
}

bool Model::has_our_products() const {
    return guarded(ErrorKind::inference, "listing weights", [&](const runtime::Guard& guard) {
        const auto& weights = llama_internal_get_tensor_map(handle(guard));
        return std::all_of(weights.begin(), weights.end(), [](const auto& weight) {
            const auto& [name, tensor] = weight;
            // Several matrices in one tensor: experts, or one for each head (DeepSeek), which ggml
            // multiplies.
            const bool is_one = tensor->ne[2] == 1 || name.find("_exps") != std::string::npos;
            return ggml_n_dims(tensor) < 2 ||
                   (is_one && backend_modules::multiplies(ggml_type_name(tensor->type)));
        });
    });
}

bool Model::has_our_attention() const {
    const std::string architecture = metadata("general.architecture");
    const auto number = [&](const std::string& key) {  // 0: there is none, or it is a list
        return std::strtoll(metadata(architecture + key).c_str(), nullptr, 10);
    };
    const int64_t n_heads = number(".attention.head_count");
    const int64_t usual = n_heads > 0 ? number(".embedding_length") / n_heads : 0;
    const auto fits = [&](const std::string& key) {
        const int64_t width = number(key) > 0 ? number(key) : usual;
        return width % 8 == 0 && width <= 576;  // csrc/kernels/attention.cpp
    };
    return architecture != "grok" &&  // for which llama.cpp turns flash attention off
           fits(".attention.key_length") && fits(".attention.value_length");
}

Model::Facts Model::facts_of(const llama_model* model, const llama_vocab* vocab) {
    Facts facts{};
    facts.n_ctx_train = llama_model_n_ctx_train(model);
    facts.n_swa = llama_model_n_swa(model);
    facts.n_embd_out = llama_model_n_embd_out(model);
    facts.n_cls_out = static_cast<int32_t>(llama_model_n_cls_out(model));
    facts.size_bytes = llama_model_size(model);
    facts.n_params = llama_model_n_params(model);
    facts.has_encoder = llama_model_has_encoder(model);
    facts.has_decoder = llama_model_has_decoder(model);
    facts.is_diffusion = llama_model_is_diffusion(model);
    facts.is_recurrent = llama_model_is_recurrent(model) || llama_model_is_hybrid(model);
    facts.bos = llama_vocab_bos(vocab);
    facts.eos = llama_vocab_eos(vocab);
    facts.sep = llama_vocab_sep(vocab);
    facts.adds_bos = llama_vocab_get_add_bos(vocab);
    facts.adds_eos = llama_vocab_get_add_eos(vocab);
    facts.adds_sep = llama_vocab_get_add_sep(vocab);
    facts.has_vocabulary = llama_vocab_type(vocab) != LLAMA_VOCAB_TYPE_NONE;
    facts.has_rope = llama_model_rope_type(model) != LLAMA_ROPE_TYPE_NONE;
    return facts;
}

Model::Model(const runtime::Guard& guard, Handle<llama_model> model, const ModelOptions& options)
    : options_(options),
      model_(std::move(model)),
      vocab_(llama_model_get_vocab(model_.get(guard))),
      facts_(facts_of(model_.get(guard), vocab_)),
      memory_class_(find_memory_class()),
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
        model_.leak();
    }
}

int32_t Model::n_ctx_original() const {
    const std::string stated =
        metadata(metadata("general.architecture") + ".rope.scaling.original_context_length");
    const int32_t n = static_cast<int32_t>(std::strtol(stated.c_str(), nullptr, 10));
    return n > 0 ? n : n_ctx_train();
}

MemoryClass Model::find_memory_class() const {
    if (is_vocab_only() || !facts_.has_decoder || facts_.has_encoder || facts_.is_diffusion ||
        metadata(metadata("general.architecture") + ".attention.causal") == "false") {
        return MemoryClass::none;
    }
    if (facts_.is_recurrent) {
        return MemoryClass::recurrent;
    }
    return n_swa() > 0 ? MemoryClass::windowed : MemoryClass::full;
}

std::vector<SpecialToken> Model::control_tokens() const {
    return guarded(ErrorKind::inference, cannot_tell, [&](const runtime::Guard& guard) {
        const llama_vocab* words = vocab(guard);
        std::vector<SpecialToken> tokens;
        for (int32_t id = 0; id < n_vocab_; ++id) {
            const llama_token_attr attr = llama_vocab_get_attr(words, id);
            if ((attr & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)) != 0) {
                std::string text = llama_vocab_get_text(words, id);
                if (!text.empty()) {
                    tokens.push_back({id, std::move(text), (attr & LLAMA_TOKEN_ATTR_LSTRIP) != 0,
                                      (attr & LLAMA_TOKEN_ATTR_RSTRIP) != 0});
                }
            }
        }
        return tokens;
    });
}

std::vector<std::string> Model::token_texts() const {
    return guarded(ErrorKind::inference, cannot_tell, [&](const runtime::Guard& guard) {
        std::vector<std::string> texts;
        texts.reserve(static_cast<size_t>(n_vocab_));
        for (int32_t token = 0; token < n_vocab_; ++token) {
            texts.emplace_back(llama_vocab_get_text(vocab(guard), token));
        }
        return texts;
    });
}

std::string Model::metadata(const std::string& key) const {
    return guarded(ErrorKind::inference, cannot_tell, [&](const runtime::Guard& guard) {
        const llama_model* model = model_.get(guard);
        std::string value;
        const int32_t n_chars = llama_model_meta_val_str(model, key.c_str(), nullptr, 0);
        if (n_chars > 0) {
            value.resize(static_cast<size_t>(n_chars) + 1);
            llama_model_meta_val_str(model, key.c_str(), value.data(), value.size());
            value.resize(static_cast<size_t>(n_chars));
        }
        return value;
    });
}

std::string Model::chat_template() const {
    return guarded(ErrorKind::inference, cannot_tell, [&](const runtime::Guard& guard) {
        const char* text = llama_model_chat_template(model_.get(guard), nullptr);
        return std::string(text == nullptr ? "" : text);
    });
}

std::string Model::description() const {
    return guarded(ErrorKind::inference, cannot_tell, [&](const runtime::Guard& guard) {
        std::array<char, 256> buffer{};
        llama_model_desc(model_.get(guard), buffer.data(), buffer.size());
        return std::string(buffer.data());
    });
}

std::string Model::pooling() const {
    const std::string value = metadata(metadata("general.architecture") + ".pooling_type");
    constexpr std::array<const char*, 5> names{"none", "mean", "cls", "last", "rank"};  // llama_pooling_type
    const size_t index = std::strtoul(value.c_str(), nullptr, 10);
    return index < names.size() ? names[index] : names[0];
}

bool Model::can_embed() const {
    return !is_vocab_only() && !facts_.has_encoder && !facts_.is_diffusion;
}

}  // namespace tea
