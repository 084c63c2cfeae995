#include "bindings/py_sampling.hpp"

#include <string>
#include <utility>
#include <vector>

namespace tea::bindings {

SamplingOptions sampling_options(const py::dict& given) {
    SamplingOptions options;
    py::dict left(given);
    left = left.attr("copy")();
    const auto take = [&](const char* name, auto& field) {
        if (left.contains(name)) {
            field = py::cast<std::decay_t<decltype(field)>>(left.attr("pop")(name));
        }
    };
    take("temperature", options.temperature);
    take("top_k", options.top_k);
    take("typical_p", options.typical_p);
    take("top_p", options.top_p);
    take("min_p", options.min_p);
    take("xtc_probability", options.xtc_probability);
    take("xtc_threshold", options.xtc_threshold);
    take("repeat_penalty", options.repeat_penalty);
    take("presence_penalty", options.presence_penalty);
    take("frequency_penalty", options.frequency_penalty);
    take("repeat_last_n", options.repeat_last_n);
    take("dry_multiplier", options.dry_multiplier);
    take("dry_base", options.dry_base);
    take("dry_allowed_length", options.dry_allowed_length);
    take("dry_penalty_last_n", options.dry_penalty_last_n);
    take("dry_sequence_breakers", options.dry_sequence_breakers);
    take("mirostat", options.mirostat);
    take("mirostat_tau", options.mirostat_tau);
    take("mirostat_eta", options.mirostat_eta);
    std::vector<std::pair<int32_t, float>> biases;
    take("logit_bias", biases);
    for (const auto& [token, bias] : biases) {
        options.logit_bias.push_back({token, bias});
    }
    if (!left.empty()) {
        throw py::type_error("unknown sampling options: " + std::string(py::str(left)));
    }
    return options;
}

}  // namespace tea::bindings
