#include "base/error.hpp"
#include "bindings/common.hpp"
#include "bindings/encoding.hpp"

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "llama/model.hpp"
#include "llama/tokenizer.hpp"

namespace tea::bindings {

namespace {

using ModelPtr = std::shared_ptr<const Model>;

// A load on a thread of its own, so that the caller can look after signals and report progress.
class Loading {
  public:
    explicit Loading(ModelOptions options)
        : thread_([this, options = std::move(options)] { run(options); }) {}
    ~Loading() {
        is_cancelled_ = true;
        thread_.join();
    }
    Loading(const Loading&) = delete;
    Loading& operator=(const Loading&) = delete;

    void cancel() { is_cancelled_ = true; }
    float fraction() const { return fraction_; }

    bool wait(std::chrono::milliseconds slice) {
        std::unique_lock lock(mutex_);
        return done_.wait_for(lock, slice, [&] { return is_done_; });
    }

    ModelPtr take() {
        if (error_) {
            std::rethrow_exception(error_);
        }
        return std::move(model_);
    }

  private:
    void run(const ModelOptions& options) {
        be_ready_to_throw();
        try {
            model_ = Model::load(options, [this](float fraction) {
                fraction_ = fraction;
                return !is_cancelled_;
            });
        } catch (...) {
            error_ = std::current_exception();
        }
        const std::lock_guard lock(mutex_);
        is_done_ = true;
        done_.notify_all();
    }

    std::atomic<bool> is_cancelled_{false};
    std::atomic<float> fraction_{0};
    std::mutex mutex_;
    std::condition_variable done_;
    bool is_done_ = false;      // guarded by mutex_
    ModelPtr model_;            // the thread's until is_done_
    std::exception_ptr error_;  // the thread's until is_done_
    std::thread thread_;        // last: it uses all of the above
};

ModelPtr load_model(const ModelOptions& options, const py::object& progress) {
    std::optional<Loading> loading;
    // Whatever is raised here, the thread is joined without the GIL.
    struct Join {
        std::optional<Loading>& loading;
        ~Join() {
            const GilRelease released;
            loading.reset();
        }
    };
    const Join join{loading};
    try {
        loading.emplace(options);
    } catch (const std::system_error& error) {
        throw no_thread(ErrorKind::model_load, "to load '" + options.path + "'", error.what());
    }
    const auto report = [&] {
        if (!progress.is_none()) {
            progress(loading->fraction());
        }
    };
    wait_interruptibly([&](auto slice) { return loading->wait(slice); }, [&] { loading->cancel(); }, report);
    ModelPtr model = loading->take();
    report();
    return model;
}

template <typename Function>
auto without_gil(Function function) {
    const GilRelease released;
    return function();
}

}  // namespace

void register_model(py::module_& module) {
    py::class_<Model, std::shared_ptr<Model>> model(module, "Model",
                                                    "A loaded GGUF file. Safe to use from any thread.");
    model.def_static(
        "load",
        [](const std::string& path, bool vocab_only, int32_t n_gpu_layers, int32_t main_gpu,
           std::vector<float> tensor_split, bool mmap, bool mlock, const py::object& progress) {
            ModelOptions options;
            options.path = path;
            options.vocab_only = vocab_only;
            options.n_gpu_layers = n_gpu_layers;
            options.main_gpu = main_gpu;
            options.tensor_split = std::move(tensor_split);
            options.use_mmap = mmap;
            options.use_mlock = mlock;
            return std::const_pointer_cast<Model>(load_model(options, progress));
        },
        py::arg("path"), py::kw_only(), py::arg("vocab_only") = false, py::arg("n_gpu_layers") = -1,
        py::arg("main_gpu") = 0, py::arg("tensor_split") = std::vector<float>{}, py::arg("mmap") = true,
        py::arg("mlock") = false, py::arg("progress") = py::none());
    model.def(
        "encode",
        [](const std::shared_ptr<Model>& self, std::string text, bool add_special, bool parse_special,
           const py::object& check) {
            return encode_interruptibly(self, std::move(text), add_special, parse_special, check);
        },
        py::arg("text"), py::kw_only(), py::arg("add_special"), py::arg("parse_special"),
        py::arg("check") = py::none(),
        "A long text's encoding calls check() every 50 ms; an exception from it ends the call.");
    await_encodings_at_exit();
    model.def(
        "decode",
        [](const Model& self, const std::vector<int32_t>& tokens) {
            return py::bytes(without_gil([&] { return tokenizer::decode(self, tokens); }));
        },
        py::arg("tokens"), "The bytes of a text: not always valid UTF-8.");
    model.def(
        "control_tokens",
        [](const Model& self) {
            py::list list;
            for (const auto& token : without_gil([&] { return self.control_tokens(); })) {
                list.append(
                    py::make_tuple(token.id, py::bytes(token.text), token.strips_left, token.strips_right));
            }
            return list;
        },
        "(id, text, strips_left, strips_right) of every token whose text has control meaning.");
    model.def(
        "token_texts",
        [](const Model& self) {
            py::list texts;
            for (const auto& text : without_gil([&] { return self.token_texts(); })) {
                texts.append(py::bytes(text));
            }
            return texts;
        },
        "Each token's text as the file spells it.");
    model.def(
        "metadata", [](const Model& self, const std::string& key) { return py::bytes(self.metadata(key)); },
        py::arg("key"));
    model.def_property_readonly("chat_template",
                                [](const Model& self) { return py::bytes(self.chat_template()); });
    model.def_property_readonly("description",
                                [](const Model& self) { return py::bytes(self.description()); });
    model.def_property_readonly("generates",
                                [](const Model& self) { return self.memory_class() != MemoryClass::none; });
    model.def_property_readonly("pooling", &Model::pooling);
    model.def_property_readonly("n_vocab", &Model::n_vocab);
    model.def_property_readonly(
        "longest_token_bytes",
        [](const Model& self) { return without_gil([&] { return tokenizer::longest_piece(self); }); },
        "Of all tokens' texts: computed anew each time.");
    model.def_property_readonly("n_ctx_train", &Model::n_ctx_train);
    model.def_property_readonly("n_params", &Model::n_params);
    model.def_property_readonly("size_bytes", &Model::size_bytes);
    model.def(
        "weight_types", [](const Model& self) { return without_gil([&] { return self.weight_types(); }); },
        "Types of the file's matrices, and whether our kernels multiply them on the CPU.");
    model.def_property_readonly("bos", &Model::bos);
    model.def_property_readonly("eos", &Model::eos);
    model.def_property_readonly("sep", &Model::sep);
    model.def_property_readonly("adds_eos", &Model::adds_eos);
    model.def_property_readonly("adds_sep", &Model::adds_sep);
    model.def_property_readonly("adds_bos", &Model::adds_bos);
}

}  // namespace tea::bindings
