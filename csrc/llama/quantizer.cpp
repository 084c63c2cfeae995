#include "llama/quantizer.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "llama.h"
#include "llama/abort_guard.hpp"
#include "llama/log.hpp"
#include "llama/runtime.hpp"

namespace tea {

const std::vector<FileType>& file_types() {
    static const std::vector<FileType> types{
        {"f32", 32, LLAMA_FTYPE_ALL_F32},           {"f16", 16, LLAMA_FTYPE_MOSTLY_F16},
        {"bf16", 16, LLAMA_FTYPE_MOSTLY_BF16},      {"q8_0", 8.5, LLAMA_FTYPE_MOSTLY_Q8_0},
        {"q6_k", 6.6, LLAMA_FTYPE_MOSTLY_Q6_K},     {"q5_1", 6, LLAMA_FTYPE_MOSTLY_Q5_1},
        {"q5_k_m", 5.7, LLAMA_FTYPE_MOSTLY_Q5_K_M}, {"q5_k_s", 5.6, LLAMA_FTYPE_MOSTLY_Q5_K_S},
        {"q5_0", 5.6, LLAMA_FTYPE_MOSTLY_Q5_0},     {"q4_1", 5.1, LLAMA_FTYPE_MOSTLY_Q4_1},
        {"q4_k_m", 4.9, LLAMA_FTYPE_MOSTLY_Q4_K_M}, {"q4_k_s", 4.7, LLAMA_FTYPE_MOSTLY_Q4_K_S},
        {"iq4_nl", 4.7, LLAMA_FTYPE_MOSTLY_IQ4_NL}, {"q4_0", 4.6, LLAMA_FTYPE_MOSTLY_Q4_0},
        {"iq4_xs", 4.5, LLAMA_FTYPE_MOSTLY_IQ4_XS}, {"q3_k_l", 4.3, LLAMA_FTYPE_MOSTLY_Q3_K_L},
        {"q3_k_m", 4, LLAMA_FTYPE_MOSTLY_Q3_K_M},   {"q3_k_s", 3.6, LLAMA_FTYPE_MOSTLY_Q3_K_S},
        {"q2_k", 3.2, LLAMA_FTYPE_MOSTLY_Q2_K},
    };
    return types;
}

void quantize(const std::string& source, const std::string& target, const std::string& type,
              int32_t n_threads, bool requantizes) {
    const auto& types = file_types();
    const auto found =
        std::find_if(types.begin(), types.end(), [&](const FileType& one) { return type == one.name; });
    if (found == types.end()) {
        throw Error(ErrorKind::invalid_argument, "there is no file type " + type);
    }
    runtime::initialize();
    const runtime::LogCapture capture;
    const uint32_t code = runtime::guarded(
        ErrorKind::model_load, source + " could not be quantized", [&](const runtime::Guard&) {
            llama_model_quantize_params params = llama_model_quantize_default_params();
            params.nthread = n_threads;
            params.ftype = static_cast<llama_ftype>(found->llama_ftype);
            params.allow_requantize = requantizes;
            return llama_model_quantize(source.c_str(), target.c_str(), &params);
        });
    if (code != 0) {
        throw Error(ErrorKind::model_load,
                    source + " could not be quantized: " + capture.last_lines("llama.cpp gave no reason"));
    }
}

}  // namespace tea
