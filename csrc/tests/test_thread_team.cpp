// Only where the test can stand between the engine and the C library.
#ifdef __linux__

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <limits>
#include <thread>
#include <utility>

#include "llama/log.hpp"
#include "llama/runtime.hpp"
#include "llama/thread_team.hpp"
#include "tests/check.hpp"
#include "tests/through_ggml.hpp"

using tea::ThreadTeam;

namespace {

constexpr int any = std::numeric_limits<int>::max();
std::atomic<int> max_alive{any};
std::atomic<int> n_more{any};  // that may be started, alive or not
std::atomic<int> n_alive{0};
std::atomic<int> n_asked{0};

using Start = void* (*)(void*);
using Call = std::pair<Start, void*>;

void* run(void* argument) {
    auto* call = static_cast<Call*>(argument);
    const auto [start, data] = *call;
    delete call;
    void* result = start(data);
    --n_alive;
    return result;
}

// While it lives, the system starts only so many threads.
class Limit {
  public:
    Limit(int max_more, int more) {
        max_alive = max_more == any ? any : n_alive + max_more;
        n_more = more;
        n_asked = 0;
    }
    ~Limit() {
        max_alive = any;
        n_more = any;
    }
    Limit(const Limit&) = delete;
    Limit& operator=(const Limit&) = delete;
};

size_t n_warnings() {
    size_t n = 0;
    for (const auto& line : tea::runtime::take_log_lines()) {
        n += line.level == tea::runtime::LogLevel::warning ? 1 : 0;
    }
    return n;
}

}  // namespace

// Hides the C library's, also from the C++ library's std::thread.
extern "C" __attribute__((visibility("default"))) int pthread_create(pthread_t* thread,
                                                                     const pthread_attr_t* attributes,
                                                                     Start start, void* data) {
    using Create = int (*)(pthread_t*, const pthread_attr_t*, Start, void*);
    static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
    ++n_asked;
    if (n_alive >= max_alive || n_more <= 0) {
        return EAGAIN;
    }
    --n_more;
    ++n_alive;
    return create(thread, attributes, run, new Call(start, data));
}

TEST_CASE("as many threads as were asked for") {
    tea::runtime::initialize();
    n_warnings();
    CHECK(ThreadTeam(1).size() == 1);
    CHECK(ThreadTeam(3).size() == 3);
    CHECK(n_warnings() == 0);
}

TEST_CASE("as many as there may be, and a warning") {
    const Limit limit(2, any);
    CHECK(ThreadTeam(4).size() == 3);
    CHECK(n_warnings() == 1);
}

TEST_CASE("without another thread the caller computes alone") {
    const Limit limit(0, any);
    CHECK(ThreadTeam(4).size() == 1);
    CHECK(n_warnings() == 1);
}

TEST_CASE("threads that were there a moment ago and are not when ggml starts its own") {
    const Limit limit(any, 3 + 1);
    CHECK(ThreadTeam(4).size() == 1);
    CHECK(n_warnings() == 1);
}

TEST_CASE("a team that cannot grow stays as it is, and does not try at every step") {
    ThreadTeam team(2);
    const Limit limit(2, any);
    team.resize({}, 4);
    CHECK(team.size() == 2);
    CHECK(n_warnings() == 1);
    n_asked = 0;
    team.resize({}, 4);
    CHECK(n_asked == 0);
    CHECK(n_warnings() == 0);
    team.resize({}, 5);  // another number: it tries
    CHECK(n_asked > 0);
    CHECK(team.size() == 2);
}

TEST_CASE("a thread that waits for another leaves the processor to others") {
    const std::clock_t before = std::clock();  // of all threads
    tea::test::through_ggml(1 << 20, 2, [](ggml_context* context) {
        const auto be_late = [](ggml_tensor*, const ggml_tensor*, int thread, int, void*) {
            if (thread == 1) {
                std::this_thread::sleep_for(std::chrono::milliseconds(300));
            }
        };
        ggml_tensor* nothing = ggml_new_tensor_1d(context, GGML_TYPE_F32, 1);
        return ggml_map_custom1(context, nothing, be_late, 2, nullptr);
    });
    CHECK(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC < 0.15);
}

TEST_MAIN

#else
int main() {}
#endif
