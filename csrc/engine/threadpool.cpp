#include "engine/threadpool.hpp"

#include <string>

#include "engine/error.hpp"
#include "ggml-backend.h"

namespace tea {

namespace {

// Functions of the CPU backend are reached through its registry, also in a static build: with CPU
// variants as modules there is no other way.
template <typename Function>
Function* cpu_function(const char* name) {
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    void* function =
        cpu == nullptr ? nullptr : ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu), name);
    if (function == nullptr) {
        throw Error(ErrorKind::inference, std::string("the CPU backend has no function ") + name);
    }
    return reinterpret_cast<Function*>(function);
}

}  // namespace

void ThreadpoolDeleter::operator()(ggml_threadpool* pool) const {
    cpu_function<void(ggml_threadpool*)>("ggml_threadpool_free")(pool);
}

ThreadpoolPtr make_threadpool(int32_t n_threads) {
    ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
    ThreadpoolPtr pool(
        cpu_function<ggml_threadpool*(ggml_threadpool_params*)>("ggml_threadpool_new")(&params));
    if (!pool) {
        throw Error(ErrorKind::inference, std::to_string(n_threads) + " threads could not be started");
    }
    return pool;
}

}  // namespace tea
