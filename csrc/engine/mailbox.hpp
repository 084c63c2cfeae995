#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

namespace tea {

// Tells an event loop which of its requests have something new, through a file descriptor that becomes
// readable: one wake-up for any number of them. Any thread may post; one loop takes.
class Mailbox {
  public:
    Mailbox();  // throws Error{inference} when there are no file descriptors left
    ~Mailbox();
    Mailbox(const Mailbox&) = delete;
    Mailbox& operator=(const Mailbox&) = delete;

    int fileno() const { return read_end_; }
    void post(uint64_t tag);
    // The tags posted since the last call; the descriptor is not readable then.
    std::vector<uint64_t> take();

  private:
    std::mutex mutex_;
    std::vector<uint64_t> tags_;  // guarded by mutex_
    int read_end_ = -1;
    int write_end_ = -1;
};

}  // namespace tea
