#include "llama/handle.hpp"

#include "llama.h"

namespace tea {

void Free::operator()(llama_model* model) const {
    llama_model_free(model);
}

void Free::operator()(llama_context* context) const {
    llama_free(context);
}

void Free::operator()(llama_batch_ext* batch) const {
    llama_batch_ext_free(batch);
}

void Free::operator()(llama_sampler* sampler) const {
    llama_sampler_free(sampler);
}

}  // namespace tea
