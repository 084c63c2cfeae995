#include "llama/backend_modules.hpp"

#include <cstdlib>
#include <filesystem>

#include "base/error.hpp"

#ifdef TEA_LLM_CPU_MODULES
#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include "ggml-backend.h"
#include "llama/log.hpp"

#ifdef _WIN32
#define NOMINMAX
#include <windows.h>
#else
#include <dlfcn.h>
#endif
#endif

#include "kernels/register.hpp"

namespace tea::backend_modules {

namespace {

namespace fs = std::filesystem;

// Written by the first load(), which runtime::initialize() makes the only one.
const TeaKernels* kernels = nullptr;    // null: not for this CPU
std::string variant_in_use = "native";  // NOLINT: a string of 6 characters does not allocate

std::vector<fs::path>& directories() {
    static auto* instance = new std::vector<fs::path>;
    return *instance;
}

std::string wanted_variant() {
    const char* value = std::getenv("TEA_LLM_CPU_VARIANT");
    return value == nullptr ? "" : value;
}

#ifdef TEA_LLM_CPU_MODULES

struct Module {
    std::string name;  // what follows PREFIX in the file's name, such as "cpu-haswell" or "cuda"
    fs::path file;
};

std::vector<Module> find_modules() {
    const std::string prefix = TEA_LLM_MODULE_PREFIX;
    std::vector<Module> modules;
    for (const auto& directory : directories()) {
        std::error_code error;  // a directory that cannot be read has no modules
        for (const auto& entry : fs::directory_iterator(directory, error)) {
            const std::string name = entry.path().stem().u8string();
            if (name.rfind(prefix, 0) == 0 && entry.path().extension() == TEA_LLM_MODULE_SUFFIX) {
                modules.push_back({name.substr(prefix.size()), entry.path()});
            }
        }
    }
    return modules;
}

// A module while something is asked of it.
class Library {
  public:
#ifdef _WIN32
    explicit Library(const fs::path& file) : handle_(LoadLibraryW(file.c_str())) {}
    ~Library() {
        if (handle_ != nullptr) {
            FreeLibrary(handle_);
        }
    }
#else
    explicit Library(const fs::path& file) : handle_(dlopen(file.c_str(), RTLD_LAZY | RTLD_LOCAL)) {}
    ~Library() {
        if (handle_ != nullptr) {
            dlclose(handle_);
        }
    }
#endif
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;

    // nullptr: it did not load, or has none.
    template <typename Function>
    Function* find(const char* name) const {
#ifdef _WIN32
        return handle_ == nullptr ? nullptr : reinterpret_cast<Function*>(GetProcAddress(handle_, name));
#else
        return handle_ == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(handle_, name));
#endif
    }

  private:
#ifdef _WIN32
    HMODULE handle_;
#else
    void* handle_;
#endif
};

// llama.cpp's score for a CPU module, asked of the module itself.
int score_of(const fs::path& file) {
    const Library library(file);
    auto* score = library.find<int()>("ggml_backend_score");
    if (score == nullptr) {
        std::string reason = "it does not load, or has no score";
#ifndef _WIN32
        if (const char* said = dlerror(); said != nullptr) {
            reason = said;
        }
#endif
        runtime::write_log(runtime::LogLevel::warning,
                           file.filename().u8string() + " is left out: " + reason);
    }
    return score == nullptr ? 0 : score();
}

// Whether the operating system keeps the registers that a variant uses: the scores only ask the CPU.
bool is_supported_by_system(const std::string& variant) {
#if defined(__x86_64__) || defined(_M_X64)
    static const std::set<std::string> without_avx{"x64", "sse42"};
    static const std::set<std::string> with_avx{"sandybridge", "ivybridge", "piledriver", "haswell",
                                                "alderlake"};
    if (without_avx.count(variant) > 0) {
        return true;
    }
    const bool needs_avx512 = with_avx.count(variant) == 0;
#ifdef _MSC_VER
    return IsProcessorFeaturePresent(needs_avx512 ? PF_AVX512F_INSTRUCTIONS_AVAILABLE
                                                  : PF_AVX_INSTRUCTIONS_AVAILABLE) != 0;
#else
    __builtin_cpu_init();  // asks XGETBV, too
    return needs_avx512 ? __builtin_cpu_supports("avx512f") != 0 : __builtin_cpu_supports("avx") != 0;
#endif
#else
    (void)variant;
    return true;
#endif
}

bool is_cpu(const Module& module) {
    return module.name.rfind("cpu-", 0) == 0;
}

std::vector<std::pair<CpuVariant, fs::path>> scored_variants() {
    std::vector<std::pair<CpuVariant, fs::path>> found;
    for (const auto& module : find_modules()) {
        if (is_cpu(module)) {
            const std::string name = module.name.substr(4);
            const int score = is_supported_by_system(name) ? score_of(module.file) : 0;
            found.push_back({{name, score, name == variant_in_use}, module.file});
        }
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const auto& one, const auto& other) { return one.first.score > other.first.score; });
    return found;
}

std::string joined_names(const std::vector<std::pair<CpuVariant, fs::path>>& variants, int min_score) {
    std::string names;
    for (const auto& [variant, file] : variants) {
        if (variant.score >= min_score) {
            names += (names.empty() ? "" : ", ") + variant.name;
        }
    }
    return names.empty() ? "none" : names;
}

void load_cpu() {
    const auto variants = scored_variants();
    const std::string wanted = wanted_variant();
    auto chosen = variants.begin();
    if (!wanted.empty()) {
        chosen = std::find_if(variants.begin(), variants.end(),
                              [&](const auto& candidate) { return candidate.first.name == wanted; });
        if (chosen == variants.end()) {
            throw Error(ErrorKind::config,
                        "TEA_LLM_CPU_VARIANT=" + wanted +
                            " is not one of this build's variants: " + joined_names(variants, 0));
        }
        if (chosen->first.score == 0) {
            throw Error(ErrorKind::config,
                        "TEA_LLM_CPU_VARIANT=" + wanted +
                            ": this CPU or its operating system does not run that; it runs " +
                            joined_names(variants, 1));
        }
    }
    if (chosen == variants.end() || chosen->first.score == 0 ||
        ggml_backend_load(chosen->second.u8string().c_str()) == nullptr) {
        std::string places;
        for (const auto& directory : directories()) {
            places += (places.empty() ? "" : ", ") + directory.u8string();
        }
        throw Error(ErrorKind::backend_unavailable, "no CPU kernels in " + places +
                                                        " run on this machine; this build has " +
                                                        joined_names(variants, 0));
    }
    variant_in_use = chosen->first.name;
    if (auto* register_it = Library(chosen->second).find<const TeaKernels*()>("tea_register_kernels")) {
        kernels = register_it();
    }
}

#endif

}  // namespace

void set_directories(const std::vector<std::string>& paths) {
    directories().clear();
    for (const auto& path : paths) {
        directories().push_back(fs::u8path(path));
    }
}

bool takes_weights_as_they_are() {
    return kernels != nullptr && kernels->multiplies_all_types;
}

bool attends() {
    return kernels != nullptr && kernels->attends;
}

bool multiplies(const std::string& type) {
    return kernels != nullptr && kernels->multiplies(type.c_str());
}

CellCopies::CellCopies(const std::vector<uint32_t>& ranks) {
    if (kernels != nullptr) {
        kernels->begin_copying(ranks.data(), ranks.size());
    }
}

CellCopies::~CellCopies() {
    if (kernels != nullptr) {
        kernels->end_copying();
    }
}

std::vector<uint32_t> CellCopies::ranks_of_read() const {
    std::vector<uint32_t> ranks;
    if (kernels != nullptr) {
        kernels->give_ranks_of_read(
            [](void* user_data, const uint32_t* first, size_t n) {
                static_cast<std::vector<uint32_t>*>(user_data)->assign(first, first + n);
            },
            &ranks);
    }
    return ranks;
}

#ifdef TEA_LLM_CPU_MODULES

void load() {
    load_cpu();
    for (const auto& module : find_modules()) {
        // One that does not load (no driver, say) says so in the log: that machine has no such GPU.
        if (!is_cpu(module) && ggml_backend_load(module.file.u8string().c_str()) == nullptr) {
            runtime::write_log(runtime::LogLevel::info,
                               "the " + module.name + " backend is left out: it does not load");
        }
    }
}

std::vector<CpuVariant> cpu_variants() {
    std::vector<CpuVariant> variants;
    for (auto& [variant, file] : scored_variants()) {
        variants.push_back(variant);
    }
    return variants;
}

#else

void load() {
    if (const std::string wanted = wanted_variant(); !wanted.empty() && wanted != variant_in_use) {
        throw Error(ErrorKind::config, "TEA_LLM_CPU_VARIANT=" + wanted +
                                           ": this build has the kernels of one CPU only, 'native'");
    }
    kernels = tea_register_kernels();
}

std::vector<CpuVariant> cpu_variants() {
    return {{variant_in_use, 1, true}};
}

#endif

}  // namespace tea::backend_modules
