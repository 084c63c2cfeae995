/* How ggml's threads wait for one another: included before ggml-cpu.c (cmake/llama_cpp.cmake), docs/adr/0015-patient-threads.md
 *
 * ggml spins at each of the hundreds of barriers of a step. When another process has the processor of the thread that
 * all wait for, they spin for the rest of its time slice, and keep processors that this thread could have. */

#pragma once

#if !defined(_WIN32)

#include <sched.h>
#include <stdint.h>
#include <time.h>

static inline int64_t tea_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void tea_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

/* Called over and over by a thread that waits: at a barrier, and for the next step, where ggml counts the calls. */
static inline void tea_relax(void) {
    enum {
        gap_ns = 2000,      /* since the last call: another wait */
        spin_ns = 200000,   /* longer than a sleep takes, or one thread's sleep would send the next to sleep */
        yield_ns = 1000000, /* until then, others may have the processor */
        sleep_ns = 50000,
        n_sleeps = 100,     /* then only every so many calls, so that a count of calls comes to its end */
        n_calls = 256
    };
    static _Thread_local int64_t begin = 0; /* of this wait */
    static _Thread_local int64_t last = 0;
    static _Thread_local uint32_t n = 0; /* calls after yield_ns */
    int64_t now = tea_now_ns();
    if (now - last > gap_ns) {
        begin = now;
        n = 0;
    }
    if (now - begin < spin_ns) {
        tea_pause();
    } else if (now - begin < yield_ns) {
        sched_yield();
        now = tea_now_ns();
    } else if (++n <= n_sleeps || n % n_calls == 0) {
        const struct timespec time = {0, sleep_ns};
        nanosleep(&time, NULL);
        now = tea_now_ns();
    } else {
        tea_pause();
    }
    last = now;
}

/* ggml defines the function with (void) and calls it with (): the definition gets another name, the calls are ours. */
#define ggml_thread_cpu_relax(...) TEA_RELAX_##__VA_ARGS__
#define TEA_RELAX_void ggml_thread_cpu_relax_of_ggml(void)
#define TEA_RELAX_ tea_relax()

#endif
