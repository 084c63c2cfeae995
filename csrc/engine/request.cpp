#include "engine/request.hpp"

#include <utility>

namespace tea {

namespace {

std::optional<Request::Clock::time_point> deadline_of(const RequestOptions& options,
                                                      Request::Clock::time_point now) {
    constexpr double longest_s = 1e9;  // beyond it the clock would overflow
    if (options.timeout_s <= 0 || options.timeout_s > longest_s) {
        return std::nullopt;
    }
    return now + std::chrono::duration_cast<Request::Clock::duration>(
                     std::chrono::duration<double>(options.timeout_s));
}

}  // namespace

Request::Request(RequestOptions options)
    : options_(std::move(options)),
      submitted_at_(Clock::now()),
      deadline_(deadline_of(options_, submitted_at_)) {}

bool Request::wait(std::chrono::milliseconds slice) {
    fork_stamp_.check();
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, slice, [&] { return is_done_; });
}

bool Request::wait_text(std::chrono::milliseconds slice) {
    fork_stamp_.check();
    std::unique_lock lock(mutex_);
    is_streamed_ = true;
    return changed_.wait_for(lock, slice, [&] { return is_done_ || result_.text.size() > n_taken_; });
}

std::string Request::take_text() {
    fork_stamp_.check();
    const std::lock_guard lock(mutex_);
    std::string text = result_.text.substr(n_taken_);
    n_taken_ = result_.text.size();
    return text;
}

bool Request::is_done() const {
    fork_stamp_.check();
    const std::lock_guard lock(mutex_);
    return is_done_;
}

RequestResult Request::result() const {
    fork_stamp_.check();
    const std::lock_guard lock(mutex_);
    if (error_) {
        throw *error_;
    }
    return result_;
}

void Request::deliver(const std::string& text) {
    if (text.empty()) {
        return;
    }
    const std::lock_guard lock(mutex_);
    result_.text += text;
    if (is_streamed_) {
        changed_.notify_all();
    }
}

void Request::finish(RequestResult result) {
    const std::lock_guard lock(mutex_);
    result.text = std::move(result_.text);
    result_ = std::move(result);
    is_done_ = true;
    changed_.notify_all();
}

void Request::fail(const Error& error) {
    const std::lock_guard lock(mutex_);
    error_ = error;
    if (error.kind == ErrorKind::timeout) {
        error_->partial = result_.text;
    }
    is_done_ = true;
    changed_.notify_all();
}

}  // namespace tea
