#include "machine/machine.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#include <unistd.h>

#include <ctime>
#elif defined(__APPLE__)
#include <mach/mach.h>
#elif defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#endif

namespace tea::machine {

#ifdef __linux__

namespace {

std::optional<std::string> first_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line)) {
        return std::nullopt;
    }
    return line;
}

std::optional<int64_t> read_int(const std::string& path) {
    const auto line = first_line(path);
    try {
        return line ? std::optional<int64_t>(std::stoll(*line)) : std::nullopt;
    } catch (const std::exception&) {  // "max", or a number too large to matter
        return std::nullopt;
    }
}

// The cgroup directories that apply to this process, innermost first. v2 has one hierarchy (controller
// ""), v1 one for each controller.
std::vector<std::string> cgroup_directories(const std::string& files, const std::string& controller) {
    std::ifstream file(files + "/proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {  // ID:CONTROLLERS:PATH
        const size_t first = line.find(':');
        const size_t second = line.find(':', first + 1);
        if (second == std::string::npos) {
            continue;
        }
        std::istringstream controllers(line.substr(first + 1, second - first - 1));
        std::string name;
        bool matches = controller.empty() && second == first + 1;
        while (!controller.empty() && std::getline(controllers, name, ',')) {
            matches = matches || name == controller;
        }
        if (!matches) {
            continue;
        }
        const std::string root = files + "/sys/fs/cgroup" + (controller.empty() ? "" : "/" + controller);
        std::vector<std::string> directories;
        for (std::string path = line.substr(second + 1); !path.empty() && path != "/";
             path.erase(path.rfind('/'))) {
            directories.push_back(root + path);
        }
        directories.push_back(root);  // inside a container the own group is often mounted as the root
        return directories;
    }
    return {};
}

double quota_cores(const std::string& files) {
    double cores = std::numeric_limits<double>::infinity();
    for (const auto& directory : cgroup_directories(files, "")) {
        const auto line = first_line(directory + "/cpu.max");  // "QUOTA PERIOD" or "max PERIOD"
        double quota = 0;
        double period = 0;
        if (line && std::istringstream(*line) >> quota >> period && quota > 0 && period > 0) {
            cores = std::min(cores, quota / period);
        }
    }
    for (const auto& directory : cgroup_directories(files, "cpu")) {
        const auto quota = read_int(directory + "/cpu.cfs_quota_us");
        const auto period = read_int(directory + "/cpu.cfs_period_us");
        if (quota && period && *quota > 0 && *period > 0) {
            cores = std::min(cores, static_cast<double>(*quota) / static_cast<double>(*period));
        }
    }
    return cores;
}

// Physical cores among those CPUs: hyper-threads share the vector units.
int32_t physical_cores(const cpu_set_t& mask) {
    std::set<std::string> cores;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &mask)) {
            continue;
        }
        const auto siblings = first_line("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                                         "/topology/thread_siblings_list");
        cores.insert(siblings ? *siblings : "cpu " + std::to_string(cpu));
    }
    return static_cast<int32_t>(cores.size());
}

// The number after a key in a file of lines such as "MemAvailable:   123 kB".
std::optional<int64_t> value_of(const std::string& path, const std::string& key) {
    std::ifstream file(path);
    for (std::string name; file >> name;) {
        int64_t value = 0;
        if (file >> value && name == key) {
            return value;
        }
        file.clear();
        std::string rest;
        std::getline(file, rest);
    }
    return std::nullopt;
}

int64_t machine_available_memory(const std::string& files) {
    const auto kilobytes = value_of(files + "/proc/meminfo", "MemAvailable:");
    return kilobytes ? *kilobytes * 1024 : -1;
}

// The memory that a group's limit leaves. The page cache of files counts as used, but gives way to those who
// need memory: the kernel counts it as free, too, in MemAvailable.
int64_t left_in_group(const std::string& directory, const char* limit_file, const char* usage_file,
                      const std::string& prefix) {
    constexpr int64_t no_limit = int64_t{1} << 60;  // what v1 calls unlimited is somewhat above
    const auto limit = read_int(directory + limit_file);
    const auto usage = read_int(directory + usage_file);
    if (!limit || !usage || *limit >= no_limit) {
        return no_limit;
    }
    const std::string stat = directory + "/memory.stat";
    const int64_t n_cached = value_of(stat, prefix + "inactive_file").value_or(0) +
                             value_of(stat, prefix + "active_file").value_or(0);
    return std::max<int64_t>(0, *limit - std::max<int64_t>(0, *usage - n_cached));
}

int64_t group_available_memory(const std::string& files) {
    constexpr int64_t no_limit = int64_t{1} << 60;
    int64_t available = no_limit;
    for (const auto& directory : cgroup_directories(files, "")) {
        available = std::min(available, left_in_group(directory, "/memory.max", "/memory.current", ""));
    }
    for (const auto& directory : cgroup_directories(files, "memory")) {
        available = std::min(available, left_in_group(directory, "/memory.limit_in_bytes",
                                                      "/memory.usage_in_bytes", "total_"));
    }
    return available == no_limit ? -1 : available;
}

}  // namespace

Limits limits(const std::string& files) {
    const auto n_cpus = static_cast<int32_t>(std::thread::hardware_concurrency());
    Limits limits{n_cpus,
                  n_cpus,
                  n_cpus,
                  quota_cores(files),
                  machine_available_memory(files),
                  group_available_memory(files)};
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof mask, &mask) == 0) {
        limits.n_cpus = static_cast<int32_t>(sysconf(_SC_NPROCESSORS_ONLN));
        limits.n_cpus_allowed = CPU_COUNT(&mask);
        limits.n_physical_cores = physical_cores(mask);
    }
    return limits;
}

CpuTime cpu_time() {
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof mask, &mask) != 0) {
        return {0};
    }
    CpuTime time{CPU_COUNT(&mask)};
    std::ifstream file("/proc/stat");  // man proc_stat
    for (std::string name; file >> name;) {
        std::array<double, 8> ticks{};  // user nice system idle iowait irq softirq steal
        for (double& value : ticks) {
            file >> value;
        }
        std::string rest;
        std::getline(file, rest);
        if (name.rfind("cpu", 0) != 0) {
            break;
        }
        if (name.size() > 3 && CPU_ISSET(std::strtoul(name.c_str() + 3, nullptr, 10), &mask)) {
            time.busy += ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7];
        }
    }
    time.busy /= static_cast<double>(sysconf(_SC_CLK_TCK));
    timespec own{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    time.own = static_cast<double>(own.tv_sec) + static_cast<double>(own.tv_nsec) * 1e-9;
    return time;
}

#else

namespace {

int64_t machine_available_memory() {
#if defined(__APPLE__)
    vm_statistics64_data_t pages{};
    mach_msg_type_number_t n_words = HOST_VM_INFO64_COUNT;
    const mach_port_t host = mach_host_self();
    const kern_return_t result =
        host_statistics64(host, HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&pages), &n_words);
    mach_port_deallocate(mach_task_self(), host);
    if (result != KERN_SUCCESS) {
        return -1;
    }
    return static_cast<int64_t>(static_cast<uint64_t>(pages.free_count) + pages.inactive_count) *
           static_cast<int64_t>(vm_kernel_page_size);
#elif defined(_WIN32)
    MEMORYSTATUSEX status{};
    status.dwLength = sizeof status;
    if (GlobalMemoryStatusEx(&status) == 0) {
        return -1;
    }
    return static_cast<int64_t>(
        std::min(status.ullAvailPhys, status.ullAvailPageFile));  // the second: to commit
#else
    return -1;
#endif
}

}  // namespace

Limits limits(const std::string& /*files*/) {
    const auto n_cpus = static_cast<int32_t>(std::thread::hardware_concurrency());
    return {n_cpus, n_cpus, n_cpus, std::numeric_limits<double>::infinity(), machine_available_memory(), -1};
}

CpuTime cpu_time() {
    return {0};
}

#endif

int32_t usable_cores() {
    const Limits now = limits();
    const double cores = std::min(static_cast<double>(now.n_physical_cores), now.quota_cores);
    return std::max(1, static_cast<int32_t>(std::floor(cores + 0.01)));
}

int64_t available_memory() {
    const Limits now = limits();
    if (now.free_memory < 0 || now.free_group_memory < 0) {
        return std::max(now.free_memory, now.free_group_memory);
    }
    return std::min(now.free_memory, now.free_group_memory);
}

}  // namespace tea::machine
