#include "machine/thread_count.hpp"
#include "tests/check.hpp"

using tea::ThreadCount;

namespace {

// A machine on which other processes use some processors while we compute.
struct Machine {
    int32_t n_cpus;
    double seconds = 0;
    double busy = 0;
    double own = 0;

    void run(ThreadCount& threads, double others, double for_seconds) {
        for (const double end = seconds + for_seconds; seconds < end; seconds += 0.05) {
            if (threads.is_due(seconds)) {
                threads.observe(seconds, {n_cpus, busy, own});
            }
            own += 0.05 * threads.current();
            busy += 0.05 * (threads.current() + others);
        }
    }
};

}  // namespace

TEST_CASE("nobody else: all threads") {
    Machine machine{4};
    ThreadCount threads(4, true);
    machine.run(threads, 0.1, 10);
    CHECK(threads.current() == 4);
}

TEST_CASE("others take processors: fewer threads, and more again when they are gone") {
    Machine machine{4};
    ThreadCount threads(4, true);
    machine.run(threads, 1, 1);
    CHECK(threads.current() == 3);
    machine.run(threads, 2.9, 1);
    CHECK(threads.current() == 1);
    machine.run(threads, 10, 1);
    CHECK(threads.current() == 1);
    machine.run(threads, 0, 5);
    CHECK(threads.current() == 4);
}

TEST_CASE("two processors and a busy neighbour") {
    Machine machine{2};
    ThreadCount threads(2, true);
    machine.run(threads, 0.95, 0.5);
    CHECK(threads.current() == 1);
    machine.run(threads, 0.05, 2);
    CHECK(threads.current() == 2);
}

TEST_CASE("a processor that nobody uses is room for a neighbour") {
    Machine machine{8};
    ThreadCount threads(4, true);
    machine.run(threads, 4, 2);
    CHECK(threads.current() == 4);
    machine.run(threads, 5, 2);
    CHECK(threads.current() == 3);
}

TEST_CASE("what was asked for stays; what is not known changes nothing") {
    Machine machine{2};
    ThreadCount fixed(2, false);
    machine.run(fixed, 2, 2);
    CHECK(fixed.current() == 2);
    ThreadCount unknown(2, true);
    Machine elsewhere{0};
    elsewhere.run(unknown, 2, 2);
    CHECK(unknown.current() == 2);
}

TEST_MAIN
