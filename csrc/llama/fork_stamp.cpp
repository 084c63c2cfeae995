#include "llama/fork_stamp.hpp"

#include <atomic>

#include "base/error.hpp"

namespace tea::runtime {

namespace {

std::atomic<uint64_t> fork_count{0};

}  // namespace

uint64_t fork_generation() {
    return fork_count.load(std::memory_order_relaxed);
}

void count_fork() {
    fork_count.fetch_add(1, std::memory_order_relaxed);
}

void ForkStamp::check() const {
    if (is_foreign()) {
        throw Error(ErrorKind::engine_forked,
                    "this model was loaded before fork(), and its threads do not exist in the child: load it "
                    "again here, or start children with the 'spawn' or 'forkserver' method");
    }
}

}  // namespace tea::runtime
