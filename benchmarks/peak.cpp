// The most that threads of this machine can do, as a line of JSON: `peak [THREADS]`.
//
// gb_per_s: reads of memory that lies in no cache. gops: products of unsigned and signed bytes, summed in 32
// bits, from registers only (a product and its addition are two operations); null where no instruction for
// them is known here.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

namespace {

constexpr size_t n_words = size_t{32} << 20;  // 256 MiB for each thread
constexpr int64_t n_rounds = 20'000'000;
constexpr int n_sums = 8;  // independent of each other, so that latency does not count

uint64_t read_all(const std::vector<uint64_t>& words) {
    uint64_t all[32] = {};
    for (size_t i = 0; i < words.size(); i += 32) {
        for (size_t j = 0; j < 32; ++j) {
            all[j] |= words[i + j];
        }
    }
    uint64_t result = 0;
    for (const uint64_t one : all) {
        result |= one;
    }
    return result;
}

#if defined(__AVX2__)
#if defined(__AVX512BW__)
constexpr int n_bytes = 64;
#else
constexpr int n_bytes = 32;
#endif
using Register = int __attribute__((vector_size(n_bytes)));

// In assembly, since compilers would compute what is the same only once.
void multiply_add(Register& sum, Register a, Register b, Register ones) {
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
    asm volatile("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    static_cast<void>(ones);
#elif defined(__AVXVNNI__)
    asm volatile("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
    static_cast<void>(ones);
#else
    Register pairs;
    asm volatile(
        "vpmaddubsw %3, %2, %1\n\t"
        "vpmaddwd %4, %1, %1\n\t"
        "vpaddd %1, %0, %0"
        : "+v"(sum), "=&v"(pairs)
        : "v"(a), "v"(b), "v"(ones));
#endif
}

void multiply_all() {
    Register sums[n_sums] = {};
    const Register a = Register{} + 0x03030303;
    const Register b = Register{} + 0x05050505;
    const Register ones = Register{} + 0x00010001;
    for (int64_t i = 0; i < n_rounds; ++i) {
        for (Register& sum : sums) {
            multiply_add(sum, a, b, ones);
        }
    }
}
#endif

// The least wall time of some runs in all threads at once.
double seconds(int n_threads, const std::function<void(int)>& work) {
    double least = 1e9;
    for (int run = 0; run < 7; ++run) {
        const auto begin = std::chrono::steady_clock::now();
        std::vector<std::thread> threads;
        for (int i = 0; i < n_threads; ++i) {
            threads.emplace_back(work, i);
        }
        for (auto& thread : threads) {
            thread.join();
        }
        least =
            std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return least;
}

}  // namespace

int main(int argc, char** argv) {
    const int n_threads = argc > 1 ? std::atoi(argv[1]) : 1;
    const std::vector<std::vector<uint64_t>> words(static_cast<size_t>(n_threads),
                                                   std::vector<uint64_t>(n_words, 1));
    std::vector<uint64_t> found(words.size());
    const double reading = seconds(
        n_threads, [&](int i) { found[static_cast<size_t>(i)] = read_all(words[static_cast<size_t>(i)]); });
    if (*std::min_element(found.begin(), found.end()) != 1) {
        return 1;
    }
    std::printf("{\"gb_per_s\": %.2f, ", 1e-9 * n_threads * static_cast<double>(8 * n_words) / reading);
#if defined(__AVX2__)
    const double multiplying = seconds(n_threads, [](int) { multiply_all(); });
    const double n_operations = 2.0 * n_bytes * n_sums * static_cast<double>(n_rounds);
    std::printf("\"gops\": %.1f}\n", 1e-9 * n_threads * n_operations / multiplying);
#else
    std::printf("\"gops\": null}\n");
#endif
}
