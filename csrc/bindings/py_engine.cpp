#include "base/error.hpp"
#include "bindings/common.hpp"

#include <array>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/py_request.hpp"
#include "bindings/py_sampling.hpp"
#include "engine/engine.hpp"
#include "llama/footprint.hpp"

namespace tea::bindings {

namespace {

template <typename Value, size_t n>
using Names = std::array<std::pair<std::string_view, Value>, n>;

constexpr Names<KvType, 9> kv_types{{{"f32", KvType::f32},
                                     {"f16", KvType::f16},
                                     {"bf16", KvType::bf16},
                                     {"q8_0", KvType::q8_0},
                                     {"q4_0", KvType::q4_0},
                                     {"q4_1", KvType::q4_1},
                                     {"q5_0", KvType::q5_0},
                                     {"q5_1", KvType::q5_1},
                                     {"iq4_nl", KvType::iq4_nl}}};
constexpr Names<FlashAttention, 3> flash_attentions{
    {{"auto", FlashAttention::automatic}, {"off", FlashAttention::off}, {"on", FlashAttention::on}}};
constexpr Names<RopeScaling, 5> rope_scalings{{{"auto", RopeScaling::from_model},
                                               {"none", RopeScaling::none},
                                               {"linear", RopeScaling::linear},
                                               {"yarn", RopeScaling::yarn},
                                               {"longrope", RopeScaling::longrope}}};

template <typename Value, size_t n>
Value by_name(const Names<Value, n>& names, const char* argument, const std::string& given) {
    std::string allowed;
    for (const auto& [name, value] : names) {
        if (name == given) {
            return value;
        }
        allowed += (allowed.empty() ? "\"" : ", \"") + std::string(name) + "\"";
    }
    throw Error(ErrorKind::invalid_argument,
                std::string(argument) + "=\"" + given + "\" is not one of " + allowed);
}

// The join inside must not hold the GIL, no matter which thread drops the last reference.
struct CloseWithoutGil {
    void operator()(Engine* engine) const {
        if (PyGILState_Check() != 0) {
            const GilRelease released;
            delete engine;
        } else {
            delete engine;
        }
    }
};

py::dict stats_dict(const EngineStats& stats, const StepTimes& times) {
    py::dict dict;
    dict["requests"] = stats.n_requests;
    dict["running"] = stats.n_running;
    dict["waiting"] = stats.n_waiting;
    dict["prompt_tokens"] = stats.n_prompt_tokens;
    dict["cached_tokens"] = stats.n_cached_tokens;
    dict["generated_tokens"] = stats.n_generated_tokens;
    dict["guessed_tokens"] = stats.n_guessed_tokens;
    dict["right_guesses"] = stats.n_right_guesses;
    dict["cells"] = stats.n_cells;
    dict["cells_used"] = stats.n_cells_used;
    dict["cells_idle"] = stats.n_cells_idle;
    dict["parked_tokens"] = stats.n_parked_tokens;
    dict["cells_free"] = stats.n_cells - stats.n_cells_used - stats.n_cells_idle;
    dict["steps"] = stats.n_steps;
    dict["preemptions"] = stats.n_preemptions;
    dict["threads"] = stats.n_threads;
    dict["wake_ups"] = stats.n_wake_ups;
    dict["step_ms_p50"] = times.percentile(0.50);
    dict["step_ms_p95"] = times.percentile(0.95);
    dict["step_ms_p99"] = times.percentile(0.99);
    return dict;
}

// Waits for the engine thread's answer; Ctrl-C ends the wait, not the work.
template <typename Result>
Result await(std::future<Result> future) {
    wait_interruptibly([&](auto slice) { return future.wait_for(slice) == std::future_status::ready; },
                       [] {});
    try {
        return future.get();
    } catch (const std::future_error&) {  // its promise was dropped
        throw Error(ErrorKind::engine_closed, "the model was closed");
    }
}

py::list past_list(const std::vector<SavedPast>& pasts) {
    py::list list;
    for (const auto& past : pasts) {
        list.append(py::make_tuple(
            past.tokens, py::bytes(reinterpret_cast<const char*>(past.state.data()), past.state.size())));
    }
    return list;
}

std::vector<SavedPast> pasts_of(const std::vector<std::pair<std::vector<int32_t>, py::bytes>>& list) {
    std::vector<SavedPast> pasts;
    for (const auto& [tokens, state] : list) {
        const std::string_view bytes(state);
        pasts.push_back({tokens, {bytes.begin(), bytes.end()}});
    }
    return pasts;
}

}  // namespace

void register_engine(py::module_& module) {
    py::class_<Engine, std::unique_ptr<Engine, CloseWithoutGil>> engine(
        module, "Engine", "Runs requests on one model, many at a time. Safe to use from any thread.");
    engine.def(
        py::init([](std::shared_ptr<Model> model, int64_t n_ctx, int32_t n_parallel, int32_t n_threads,
                    const std::string& cache_type_k, const std::string& cache_type_v,
                    const std::string& flash_attn, const std::string& rope_scaling, double stream_slowdown,
                    int32_t prompt_lookup, int64_t cache_ram, bool deterministic, bool audits) {
            EngineOptions options;
            options.n_ctx = n_ctx;
            options.n_parallel = n_parallel;
            options.n_threads = n_threads;
            options.cache_type_k = by_name(kv_types, "cache_type_k", cache_type_k);
            options.cache_type_v = by_name(kv_types, "cache_type_v", cache_type_v);
            options.flash_attn = by_name(flash_attentions, "flash_attn", flash_attn);
            options.rope_scaling = by_name(rope_scalings, "rope_scaling", rope_scaling);
            options.stream_slowdown = stream_slowdown;
            options.prompt_lookup = prompt_lookup;
            options.cache_ram = cache_ram;
            options.deterministic = deterministic;
            options.audits = audits;
            const GilRelease released;
            return std::unique_ptr<Engine, CloseWithoutGil>(new Engine(std::move(model), options));
        }),
        py::arg("model"), py::kw_only(), py::arg("n_ctx") = -1, py::arg("n_parallel") = 8,
        py::arg("n_threads") = -1, py::arg("cache_type_k") = "f16", py::arg("cache_type_v") = "f16",
        py::arg("flash_attn") = "auto", py::arg("rope_scaling") = "auto", py::arg("stream_slowdown") = 2.0,
        py::arg("prompt_lookup") = 0, py::arg("cache_ram") = -1, py::arg("deterministic") = false,
        py::arg("audits") = false);
    engine.def(
        "submit",
        [](Engine& self, std::vector<int32_t> prompt, int64_t max_tokens, const py::dict& sampling,
           const std::vector<uint64_t>& seeds, std::vector<std::string> stop, bool ignore_eos,
           double timeout_s, int32_t priority, std::string grammar, std::string grammar_prefix,
           std::vector<std::string> markers, int64_t reasoning_budget, std::string reasoning_start,
           std::string reasoning_end, bool is_reasoning, bool scores, int32_t n_logprobs,
           int32_t n_top_logits) {
            RequestOptions options;
            options.prompt = std::move(prompt);
            options.max_tokens = max_tokens;
            options.sampling = sampling_options(sampling);
            options.stop = std::move(stop);
            options.ignore_eos = ignore_eos;
            options.timeout_s = timeout_s;
            options.priority = priority;
            options.grammar = std::move(grammar);
            options.grammar_prefix = std::move(grammar_prefix);
            options.markers = std::move(markers);
            options.reasoning = {reasoning_budget, std::move(reasoning_start), std::move(reasoning_end),
                                 is_reasoning};
            options.scores = scores;
            options.n_logprobs = n_logprobs;
            options.n_top_logits = n_top_logits;
            const GilRelease released;
            std::vector<std::unique_ptr<PyRequest>> requests;
            for (auto& request : self.submit(options, seeds)) {
                requests.push_back(std::make_unique<PyRequest>(std::move(request)));
            }
            return requests;
        },
        py::arg("prompt"), py::kw_only(), py::arg("max_tokens"), py::arg("sampling"), py::arg("seeds"),
        py::arg("stop") = std::vector<std::string>{}, py::arg("ignore_eos") = false,
        py::arg("timeout_s") = 0.0, py::arg("priority") = 0, py::arg("grammar") = "",
        py::arg("grammar_prefix") = "", py::arg("markers") = std::vector<std::string>{},
        py::arg("reasoning_budget") = -1, py::arg("reasoning_start") = "", py::arg("reasoning_end") = "",
        py::arg("is_reasoning") = false, py::arg("scores") = false, py::arg("n_logprobs") = -1,
        py::arg("n_top_logits") = 0);
    engine.def("close", &Engine::close, py::call_guard<GilRelease>());
    engine.def("stats", [](const Engine& self) {
        EngineStats stats;
        StepTimes times;
        {
            const GilRelease released;
            stats = self.stats();
            times = self.step_times();
        }
        return stats_dict(stats, times);
    });
    engine.def(
        "save_pasts", [](Engine& self) { return past_list(await(self.save_pasts())); },
        "(tokens, state) of what is kept for reuse, the last used first.");
    engine.def(
        "load_pasts",
        [](Engine& self, const std::vector<std::pair<std::vector<int32_t>, py::bytes>>& pasts) {
            return await(self.load_pasts(pasts_of(pasts)));
        },
        py::arg("pasts"), "Keeps them again; returns how many of their tokens had room.");
    engine.def_property_readonly(
        "state_parameters", [](const Engine& self) { return self.state_parameters(); },
        "What save_pasts() and load_pasts() must agree on besides the model.");
    engine.def_property_readonly("is_closed", &Engine::is_closed);
    engine.def_property_readonly("deterministic",
                                 [](const Engine& self) { return self.config().options.deterministic; });
    engine.def_property_readonly("n_ctx", [](const Engine& self) { return self.config().n_ctx; });
    engine.def_property_readonly("is_n_ctx_capped",
                                 [](const Engine& self) { return self.config().is_n_ctx_capped; });
    engine.def_property_readonly("n_parallel", [](const Engine& self) { return self.config().n_parallel; });
    engine.def_property_readonly("adapts_threads",
                                 [](const Engine& self) { return self.config().options.n_threads == -1; });
    engine.def_property_readonly("n_threads", [](const Engine& self) { return self.config().n_threads; });
    engine.def_property_readonly("cache_bytes", [](const Engine& self) { return self.config().cache_bytes; });

    module.def(
        "estimate_memory",
        [](const std::string& path, int64_t n_ctx, int32_t n_parallel, const std::string& cache_type_k,
           const std::string& cache_type_v) {
            EngineOptions options;
            options.n_ctx = n_ctx;
            options.n_parallel = n_parallel;
            options.cache_type_k = by_name(kv_types, "cache_type_k", cache_type_k);
            options.cache_type_v = by_name(kv_types, "cache_type_v", cache_type_v);
            const GilRelease released;
            const Footprint footprint = estimate_footprint(path, options);
            return std::make_pair(footprint.cache, footprint.compute);
        },
        py::arg("path"), py::kw_only(), py::arg("n_ctx"), py::arg("n_parallel"), py::arg("cache_type_k"),
        py::arg("cache_type_v"),
        "Bytes of the cache and of scratch space for a context of this file's model.");
}

}  // namespace tea::bindings
