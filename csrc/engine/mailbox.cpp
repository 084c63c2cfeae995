#include "engine/mailbox.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/error.hpp"

namespace tea {

Mailbox::Mailbox() {
    std::array<int, 2> ends{};
    if (pipe(ends.data()) != 0) {
        throw Error(ErrorKind::inference, std::string("no pipe to the event loop: ") + std::strerror(errno));
    }
    read_end_ = ends[0];
    write_end_ = ends[1];
    for (const int end : ends) {
        fcntl(end, F_SETFL, O_NONBLOCK);
        fcntl(end, F_SETFD, FD_CLOEXEC);
    }
}

Mailbox::~Mailbox() {
    ::close(read_end_);
    ::close(write_end_);
}

void Mailbox::post(const std::vector<uint64_t>& tags) {
    const std::lock_guard lock(mutex_);
    const bool was_empty = tags_.empty();
    tags_.insert(tags_.end(), tags.begin(), tags.end());
    if (was_empty && !tags_.empty()) {
        const char byte = 0;
        // The pipe holds at most this one byte: it cannot be full.
        (void)!write(write_end_, &byte, 1);
    }
}

std::vector<uint64_t> Mailbox::take() {
    const std::lock_guard lock(mutex_);
    char byte = 0;
    (void)!read(read_end_, &byte, 1);
    std::vector<uint64_t> tags;
    tags.swap(tags_);
    return tags;
}

void WakeUps::send() {
    for (const auto& [mailbox, tags] : tags_) {
        mailbox->post(tags);
    }
    tags_.clear();
}

}  // namespace tea
