#include "llama/runtime.hpp"

#ifndef _WIN32
#include <pthread.h>
#endif

#include "ggml-backend.h"
#include "llama.h"
#include "llama/abort_guard.hpp"
#include "llama/backend_modules.hpp"
#include "llama/fork_stamp.hpp"
#include "llama/log.hpp"

namespace tea::runtime {

void initialize() {
    static const bool once = [] {
        receive_log();
        catch_aborts();
        guarded(ErrorKind::backend_unavailable, "llama.cpp does not start", [](const Guard&) {
            backend_modules::load();
            llama_backend_init();
        });
#ifndef _WIN32
        pthread_atfork(lock_log, unlock_log, [] {
            unlock_log();
            count_fork();
        });
#endif
        return true;
    }();
    (void)once;
}

std::vector<Device> devices() {
    initialize();
    return guarded(ErrorKind::inference, "llama.cpp cannot list its devices", [](const Guard&) {
        std::vector<Device> devices;
        for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
            ggml_backend_dev_props properties{};
            ggml_backend_dev_get_props(ggml_backend_dev_get(i), &properties);
            devices.push_back({properties.name, properties.description, properties.memory_total});
        }
        return devices;
    });
}

std::string system_info() {
    initialize();
    return guarded(ErrorKind::inference, "llama.cpp cannot name its features",
                   [](const Guard&) { return std::string(llama_print_system_info()); });
}

}  // namespace tea::runtime
