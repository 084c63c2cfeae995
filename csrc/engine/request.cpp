#include "engine/request.hpp"

#include <utility>

namespace tea {

namespace {

std::optional<Request::Clock::time_point> deadline_of(const RequestOptions& options,
                                                      Request::Clock::time_point now) {
    constexpr double max_timeout_s = 1e9;  // beyond it the clock would overflow
    if (options.timeout_s <= 0 || options.timeout_s > max_timeout_s) {
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

void Request::notify(std::shared_ptr<Mailbox> mailbox, uint64_t tag, bool wants_text) {
    fork_stamp_.check();
    const std::lock_guard lock(mutex_);
    mailbox_ = std::move(mailbox);
    mailbox_tag_ = tag;
    posts_text_ = wants_text;
    is_posted_ = is_done_ || (wants_text && result_.text.size() > n_taken_);
    if (is_posted_) {
        mailbox_->post({mailbox_tag_});
    }
}

std::string Request::take_text() {
    fork_stamp_.check();
    const std::lock_guard lock(mutex_);
    is_posted_ = false;
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

void Request::deliver(const std::string& text, WakeUps& wake_ups) {
    if (text.empty()) {
        return;
    }
    const std::lock_guard lock(mutex_);
    result_.text += text;
    if (is_streamed_) {
        changed_.notify_all();
    }
    if (posts_text_ && !is_posted_) {
        is_posted_ = true;
        wake_ups.add(mailbox_, mailbox_tag_);
    }
}

void Request::finish(RequestResult result, WakeUps& wake_ups) {
    const std::lock_guard lock(mutex_);
    result.text = std::move(result_.text);
    result_ = std::move(result);
    end(wake_ups);
}

void Request::fail(const Error& error, WakeUps& wake_ups) {
    const std::lock_guard lock(mutex_);
    error_ = error;
    if (error.kind == ErrorKind::timeout) {
        error_->partial = std::make_shared<const std::string>(result_.text);
    }
    end(wake_ups);
}

// Called with mutex_ held.
void Request::end(WakeUps& wake_ups) {
    is_done_ = true;
    changed_.notify_all();
    if (mailbox_) {
        wake_ups.add(mailbox_, mailbox_tag_);
        mailbox_.reset();
    }
}

}  // namespace tea
