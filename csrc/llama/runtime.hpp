#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tea::runtime {

// Brings llama.cpp up, once; cheap when it is up. Every entry into llama.cpp comes after this.
void initialize();

// Something that can compute.
struct Device {
    std::string name;
    std::string description;
    uint64_t memory_bytes;
};

std::vector<Device> devices();

// llama.cpp's line about the CPU features that its kernels use.
std::string system_info();

}  // namespace tea::runtime
