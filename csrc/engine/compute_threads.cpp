#include "engine/compute_threads.hpp"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "engine/error.hpp"
#include "engine/machine.hpp"
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

ThreadpoolPtr make_threadpool(int32_t n_threads) {
    ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
    ThreadpoolPtr pool(
        cpu_function<ggml_threadpool*(ggml_threadpool_params*)>("ggml_threadpool_new")(&params));
    if (!pool) {
        throw Error(ErrorKind::inference, std::to_string(n_threads) + " threads could not be started");
    }
    return pool;
}

}  // namespace

void ThreadpoolDeleter::operator()(ggml_threadpool* pool) const {
    cpu_function<void(ggml_threadpool*)>("ggml_threadpool_free")(pool);
}

int32_t ThreadBudget::begin_step() {
    const int32_t n_computing = share_.begin_step();
    if (!adapts_) {
        return most_;
    }
    const auto since_start = std::chrono::steady_clock::now().time_since_epoch();
    const double now = std::chrono::duration<double>(since_start).count();
    if (wanted_.is_due(now)) {
        wanted_.observe(now, machine::cpu_time());
    }
    return std::max(1, wanted_.current() / n_computing);
}

ThreadTeam::ThreadTeam(int32_t n_threads) : size_(n_threads), pool_(make_threadpool(n_threads)) {}

void ThreadTeam::attach(llama_context* context) const {
    llama_set_n_threads(context, size_, size_);
    llama_attach_threadpool(context, pool_.get(), pool_.get());
}

void ThreadTeam::resize(llama_context* context, int32_t n_threads) {
    if (n_threads == size_) {
        return;
    }
    // A pool of that size: in a larger one the others would be woken, and spin, for nothing.
    ThreadpoolPtr pool = make_threadpool(n_threads);
    retired_.push_back(std::move(pool_));
    pool_ = std::move(pool);
    size_ = n_threads;
    attach(context);
}

}  // namespace tea
