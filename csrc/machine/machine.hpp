#pragma once

#include <cstdint>
#include <string>

// The part of this machine that the process may use: containers and schedulers often grant less than all.

namespace tea::machine {

// Threads that make sense for computing: the least of physical cores, the affinity mask, and the
// cgroup's CPU quota (v1 or v2, of any ancestor). At least 1.
int32_t usable_cores();

// The figures from which usable_cores() and available_memory() are computed.
struct Limits {
    int32_t n_cpus;             // hardware threads of the machine
    int32_t n_cpus_allowed;     // those in the affinity mask
    int32_t n_physical_cores;   // of those
    double quota_cores;         // of the tightest cgroup; infinity: no quota
    int64_t free_memory;        // of the machine, in bytes; -1: not known
    int64_t free_group_memory;  // of the tightest cgroup; -1: no limit
};
// `files`: where /proc and /sys are, for tests. Linux only.
Limits limits(const std::string& files = "");

// Processor time since some moment in the past, in seconds, on the CPUs that this process may use.
struct CpuTime {
    int32_t n_cpus;   // processors; 0: neither this nor the rest is known
    double busy = 0;  // of anyone, summed over them
    double own = 0;   // of this process
};
CpuTime cpu_time();

// Bytes that can still be allocated without swapping: free memory of the machine and of every
// enclosing cgroup, whichever is least. The page cache counts as free. -1: not known.
int64_t available_memory();

}  // namespace tea::machine
