#pragma once

#include <cstdint>
#include <map>
#include <memory>
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
    void post(const std::vector<uint64_t>& tags);
    // The tags posted since the last call; the descriptor is not readable then.
    std::vector<uint64_t> take();

  private:
    std::mutex mutex_;
    std::vector<uint64_t> tags_;  // guarded by mutex_
    int read_end_ = -1;
    int write_end_ = -1;
};

// Gathers what a step has to tell, so that each event loop is woken once.
class WakeUps {
  public:
    void add(const std::shared_ptr<Mailbox>& mailbox, uint64_t tag) { tags_[mailbox].push_back(tag); }
    // How many event loops send() will wake.
    int64_t n_pending() const { return static_cast<int64_t>(tags_.size()); }
    // Posts all of it.
    void send();

  private:
    std::map<std::shared_ptr<Mailbox>, std::vector<uint64_t>> tags_;
};

}  // namespace tea
