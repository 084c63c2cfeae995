#include "llama/runtime.hpp"

#ifndef _WIN32
#include <pthread.h>
#endif

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
        backend_modules::load();
        llama_backend_init();
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

}  // namespace tea::runtime
