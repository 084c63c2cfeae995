#pragma once

#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine_loop.hpp"
#include "engine/inbox.hpp"
#include "engine/request.hpp"
#include "llama/decoder.hpp"
#include "llama/fork_stamp.hpp"

namespace tea {

// Runs requests on one model, many at a time. Any thread may call any method; the engine thread is
// started by the first request.
class Engine {
  public:
    // Throws Error{invalid_argument} naming an option that cannot be honoured.
    Engine(std::shared_ptr<const Model> model, const EngineOptions& options);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // A request for each of the seeds, all at once: they start together and share their prompt. Throws
    // Error{invalid_argument, context_overflow, engine_closed, engine_forked, inference}.
    std::vector<std::shared_ptr<Request>> submit(const RequestOptions& options,
                                                 const std::vector<uint64_t>& seeds);

    // Ends all requests with Error{engine_closed} and frees the context. Blocks for the rest of a step.
    void close();

    // The pasts that are kept for reuse, and putting such back (EngineLoop::load_pasts). Done between two
    // steps; when the engine ends before, the future has the Error.
    std::future<std::vector<SavedPast>> save_pasts();
    std::future<int64_t> load_pasts(std::vector<SavedPast> pasts);
    // Names everything besides the model that a saved past depends on.
    std::string state_parameters() const;

    EngineStats stats() const;
    StepTimes step_times() const;
    const EngineConfig& config() const { return config_; }
    bool is_closed() const;

  private:
    void check_usable() const;  // throws why not
    void check_open() const;
    template <typename Put>
    void wake(Put put);
    template <typename Result>
    std::future<Result> command(std::function<Result(EngineLoop&)> run);

    const std::shared_ptr<const Model> model_;
    const EngineConfig config_;
    const std::shared_ptr<Inbox> inbox_;
    const runtime::ForkStamp fork_stamp_;
    std::mutex thread_mutex_;              // taken before inbox_->mutex
    std::unique_ptr<std::thread> thread_;  // guarded by thread_mutex_
};

}  // namespace tea
