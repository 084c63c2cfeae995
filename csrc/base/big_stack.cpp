#include "base/big_stack.hpp"

#include <cstring>
#include <exception>
#include <string>

#include "base/error.hpp"

#ifdef _WIN32
#include <thread>
#else
#include <pthread.h>
#endif

namespace tea {

namespace {

struct Job {
    const std::function<void()>* work;
    std::exception_ptr error;
};

void* run(void* argument) {
    be_ready_to_throw();
    auto* job = static_cast<Job*>(argument);
    try {
        (*job->work)();
    } catch (...) {
        job->error = std::current_exception();
    }
    return nullptr;
}

}  // namespace

void run_on_big_stack(size_t stack_bytes, const std::function<void()>& work) {
    Job job{&work, nullptr};
#ifdef _WIN32
    (void)stack_bytes;
    std::thread(run, &job).join();
#else
    constexpr size_t usual_bytes = size_t{8} << 20;
    constexpr size_t page_bytes = size_t{64} << 10;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes,
                              (usual_bytes + stack_bytes + page_bytes - 1) / page_bytes * page_bytes);
    pthread_t thread;
    const int failed = pthread_create(&thread, &attributes, run, &job);
    pthread_attr_destroy(&attributes);
    if (failed != 0) {
        throw no_thread(
            ErrorKind::inference,
            "with a stack of " + std::to_string(stack_bytes >> 20) + " MiB for a deep or long input",
            std::strerror(failed));
    }
    pthread_join(thread, nullptr);
#endif
    if (job.error) {
        std::rethrow_exception(job.error);
    }
}

}  // namespace tea
