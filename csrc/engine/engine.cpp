#include "engine/engine.hpp"

#include <exception>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>

#include "base/check.hpp"
#include "llama/abort_guard.hpp"
#include "llama/runtime.hpp"
#include "llama/tokenizer.hpp"

namespace tea {

namespace {

void check_request(const Model& model, const RequestOptions& options) {
    if (options.prompt.empty()) {
        throw Error(ErrorKind::invalid_argument, "the prompt has no tokens");
    }
    tokenizer::check_ids(model, options.prompt);
    if (options.scores && options.prompt.size() < 2) {
        throw Error(ErrorKind::invalid_argument, "a text of one token has nothing to score");
    }
    if (options.max_tokens == 0 || options.max_tokens < -1) {
        throw Error(ErrorKind::invalid_argument,
                    "max_tokens=" + std::to_string(options.max_tokens) + " is not positive");
    }
    for (const auto& [token, bias] : options.sampling.logit_bias) {
        tokenizer::check_ids(model, {token});
        check_between("logit_bias", bias, -1e6, 1e6);
    }
    for (const auto& stop : options.stop) {
        if (stop.empty()) {
            throw Error(ErrorKind::invalid_argument, "a stop string is empty");
        }
    }
}

}  // namespace

Engine::Engine(std::shared_ptr<const Model> model, const EngineOptions& options)
    : model_(std::move(model)), config_(resolve_config(*model_, options)), inbox_(std::make_shared<Inbox>()) {
    inbox_->stats.n_cells = config_.n_cells_at_start;
    inbox_->stats.n_threads = config_.n_threads;
}

Engine::~Engine() {
    if (fork_stamp_.is_foreign()) {
        (void)thread_.release();  // the thread is the parent's
        return;
    }
    close();
}

// Puts something into the inbox, with the lock held, and sees to it that the engine thread looks.
template <typename Put>
void Engine::wake(Put put) {
    const std::lock_guard starting(thread_mutex_);
    {
        const std::lock_guard lock(inbox_->mutex);
        check_open();
    }
    if (!thread_) {  // first: it may not be had
        try {
            thread_ = std::make_unique<std::thread>([model = model_, config = config_, inbox = inbox_] {
                EngineLoop(model, config, inbox).run();
            });
        } catch (const std::system_error& error) {
            throw no_thread(ErrorKind::inference, "to compute", error.what());
        }
    }
    {
        const std::lock_guard lock(inbox_->mutex);
        check_open();
        put(*inbox_);
    }
    inbox_->filled.notify_one();
}

std::vector<std::shared_ptr<Request>> Engine::submit(const RequestOptions& options,
                                                     const std::vector<uint64_t>& seeds) {
    check_usable();
    check_request(*model_, options);
    std::vector<std::shared_ptr<Request>> requests;
    std::vector<std::unique_ptr<Task>> tasks;
    for (const uint64_t seed : seeds) {
        RequestOptions own = options;
        own.sampling.seed = seed;
        requests.push_back(std::make_shared<Request>(std::move(own)));
        tasks.push_back(
            std::make_unique<Task>(*model_, requests.back(), config_.n_ctx, config_.options.prompt_lookup));
    }
    wake([&](Inbox& inbox) {
        inbox.stats.n_requests += static_cast<int64_t>(tasks.size());
        std::move(tasks.begin(), tasks.end(), std::back_inserter(inbox.tasks));
    });
    return requests;
}

template <typename Result>
std::future<Result> Engine::command(std::function<Result(EngineLoop&)> run) {
    check_usable();
    auto promise = std::make_shared<std::promise<Result>>();  // shared: a std::function must be copyable
    auto future = promise->get_future();
    wake([&](Inbox& inbox) {
        inbox.commands.emplace_back([promise, run = std::move(run)](EngineLoop& loop) {
            try {
                promise->set_value(run(loop));
            } catch (const runtime::Aborted& abort) {
                promise->set_exception(std::make_exception_ptr(Error(abort)));
                throw;
            } catch (...) {
                promise->set_exception(std::current_exception());
            }
        });
    });
    return future;
}

std::future<std::vector<SavedPast>> Engine::save_pasts() {
    return command<std::vector<SavedPast>>([](EngineLoop& loop) { return loop.save_pasts(); });
}

std::future<int64_t> Engine::load_pasts(std::vector<SavedPast> pasts) {
    for (const auto& past : pasts) {
        if (past.tokens.empty()) {
            throw Error(ErrorKind::invalid_argument, "a saved past has no tokens");
        }
        tokenizer::check_ids(*model_, past.tokens);
    }
    return command<int64_t>([pasts = std::move(pasts)](EngineLoop& loop) { return loop.load_pasts(pasts); });
}

void Engine::close() {
    if (fork_stamp_.is_foreign()) {
        return;
    }
    const std::lock_guard ending(thread_mutex_);
    {
        const std::lock_guard lock(inbox_->mutex);
        inbox_->is_closing = true;
    }
    inbox_->filled.notify_one();
    if (thread_ && thread_->joinable()) {
        thread_->join();
    }
}

void Engine::check_usable() const {
    fork_stamp_.check();
    {
        const std::lock_guard lock(inbox_->mutex);
        check_open();
    }
    if (model_->memory_class() == MemoryClass::none) {
        throw Error(ErrorKind::inference,
                    "this model does not generate text (an encoder or diffusion model)");
    }
}

// Called with inbox_->mutex held.
void Engine::check_open() const {
    if (inbox_->failure) {
        throw *inbox_->failure;
    }
    if (inbox_->is_closing) {
        throw Error(ErrorKind::engine_closed, "the model was closed");
    }
}

bool Engine::is_closed() const {
    fork_stamp_.check();
    return inbox_->is_closing;
}

std::string Engine::state_parameters() const {
    const bool is_stretched = config_.n_cells > model_->n_ctx_original();  // other RoPE factors, maybe
    // What other kernels computed, or this model's in steps of several tokens, has other bits.
    const bool is_exact = config_.options.deterministic;
    return state_format(config_) + (is_stretched ? ", stretched" : "") +
           (is_exact ? ", deterministic, " + runtime::system_info() : "");
}

EngineStats Engine::stats() const {
    fork_stamp_.check();
    const std::lock_guard lock(inbox_->mutex);
    EngineStats stats = inbox_->stats;
    stats.n_waiting += static_cast<int64_t>(inbox_->tasks.size());
    return stats;
}

StepTimes Engine::step_times() const {
    fork_stamp_.check();
    const std::lock_guard lock(inbox_->mutex);
    return inbox_->step_times;
}

}  // namespace tea
