#include "llama/thread_team.hpp"

#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "base/error.hpp"
#include "ggml-backend.h"
#include "llama.h"
#include "llama/abort_guard.hpp"
#include "llama/log.hpp"

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

// How many of n threads could compute just now, the calling one among them. ggml_threadpool_new() asserts
// that all can be started, and does not end those that were: better not to get there.
int32_t n_startable(int32_t n) {
    be_ready_to_throw();
    std::mutex gate;
    std::vector<std::thread> others;
    {
        const std::lock_guard closed(gate);  // they must be there at the same time
        try {
            others.reserve(static_cast<size_t>(n));
            while (static_cast<int32_t>(others.size()) + 1 < n) {
                others.emplace_back([&gate] { const std::lock_guard wait(gate); });
            }
        } catch (const std::exception&) {  // no more threads, or no memory
        }
    }
    for (auto& other : others) {
        other.join();
    }
    return static_cast<int32_t>(others.size()) + 1;
}

// Null: the system did not start that many threads.
Handle<ggml_threadpool> make_threadpool(int32_t n_threads) {
    try {
        return runtime::guarded(ErrorKind::inference, "no threads for computing", [&](const runtime::Guard&) {
            ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
            params.poll = 1;  // calls of kernels/patient_wait.h, in units of 131,072: 0.1 s
            auto* make = cpu_function<ggml_threadpool*(ggml_threadpool_params*)>("ggml_threadpool_new");
            return Handle<ggml_threadpool>(make(&params));
        });
    } catch (const runtime::Aborted&) {  // another thread was started meanwhile; those of this pool sleep
        return {};
    }
}

void warn_of_fewer(int32_t n_wanted, int32_t n_there) {
    runtime::write_log(runtime::LogLevel::warning,
                       std::to_string(n_wanted) + " compute threads could not be started, the limit on " +
                           "threads (ulimit -u, a container's pids limit) or on memory is reached: " +
                           std::to_string(n_there) + (n_there == 1 ? " computes" : " compute"));
}

}  // namespace

void Free::operator()(ggml_threadpool* pool) const {
    cpu_function<void(ggml_threadpool*)>("ggml_threadpool_free")(pool);
}

ThreadTeam::ThreadTeam(int32_t n_threads) : size_(n_startable(n_threads)), pool_(make_threadpool(size_)) {
    if (!pool_) {
        size_ = 1;
        pool_ = make_threadpool(size_);
    }
    if (!pool_) {
        throw Error(ErrorKind::inference, "ggml made no thread pool");
    }
    if (size_ < n_threads) {
        n_refused_ = n_threads;
        warn_of_fewer(n_threads, size_);
    }
}

void ThreadTeam::attach(const Handle<llama_context>& context) const {
    runtime::guarded(ErrorKind::inference, "llama.cpp takes no threads", [&](const runtime::Guard& guard) {
        llama_set_n_threads(context.get(guard), size_, size_);
        llama_attach_threadpool(context.get(guard), pool_.get(guard), pool_.get(guard));
    });
}

void ThreadTeam::resize(const Handle<llama_context>& context, int32_t n_threads) {
    if (n_threads == size_ || n_threads == n_refused_) {
        return;
    }
    // A pool of that size: in a larger one the others would be woken, and spin, for nothing.
    auto pool = n_startable(n_threads) == n_threads ? make_threadpool(n_threads) : Handle<ggml_threadpool>();
    n_refused_ = pool ? 0 : n_threads;
    if (!pool) {
        warn_of_fewer(n_threads, size_);
        return;
    }
    retired_.push_back(std::move(pool_));
    pool_ = std::move(pool);
    size_ = n_threads;
    attach(context);
}

}  // namespace tea
