#pragma once

#include <cstdint>

namespace tea::runtime {

// Number of fork() calls between this process and the first one that loaded the library.
uint64_t fork_generation();
// In the child of a fork().
void count_fork();

// Remembers the process an object was made in. Threads and locks do not survive fork(): what belongs
// to the parent is refused by check() and must be leaked, not destroyed.
class ForkStamp {
  public:
    bool is_foreign() const { return generation_ != fork_generation(); }
    void check() const;  // throws Error{engine_forked}

  private:
    uint64_t generation_ = fork_generation();
};

}  // namespace tea::runtime
