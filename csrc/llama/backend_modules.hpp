#pragma once

#include <cstdint>
#include <string>
#include <vector>

// Builds with TEA_LLM_CPU=all keep their kernels out of the extension: one module for each kind of CPU, and
// one for each GPU backend, loaded at run time. Other builds have all of them linked in, and nothing here has
// anything to do.

namespace tea::backend_modules {

// Where modules are, the package's own directory first. Heard by the first load() only.
void set_directories(const std::vector<std::string>& paths);

// Loads the best CPU variant, or the one that TEA_LLM_CPU_VARIANT names, and every GPU backend there is.
// Throws Error{config} for a variant that is not there or does not run here, Error{backend_unavailable} when
// none does.
void load();

// After load(): whether the kernels multiply weights of every type where they lie, so that the loader need
// not rearrange any in memory of its own.
bool takes_weights_as_they_are();
// After load(): whether our kernels compute attention, and products with weights of a type ("q4_K").
bool attends();
bool multiplies(const std::string& type);

// While one lives, cells that this thread copies between KV caches and saved states keep the order in which
// they were computed (kernels/cell_order.hpp). One a thread at a time.
class CellCopies {
  public:
    // `ranks`: of the cells that will be written, in that order, as ranks_of_read() gave them.
    explicit CellCopies(const std::vector<uint32_t>& ranks = {});
    ~CellCopies();
    CellCopies(const CellCopies&) = delete;
    CellCopies& operator=(const CellCopies&) = delete;

    // Of the cells that were read, in the order of reading: the rank of each by the time when it was
    // computed. Empty where attention is not ours.
    std::vector<uint32_t> ranks_of_read() const;
};

struct CpuVariant {
    std::string name;  // such as "haswell"
    int score;         // llama.cpp's: how good its kernels are for this CPU; 0: they do not run on it
    bool is_in_use;
};

// Those of this build, the best first; one named "native" where the kernels are linked in.
std::vector<CpuVariant> cpu_variants();

}  // namespace tea::backend_modules
