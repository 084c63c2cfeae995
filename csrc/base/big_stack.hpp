#pragma once

#include <cstddef>
#include <functional>

namespace tea {

// Runs `work` on a thread of its own with `stack_bytes` more stack than a usual one and waits for it;
// an exception in it is thrown here. For recursion whose depth an input decides. The stack is address
// space: only the part that is used becomes memory.
void run_on_big_stack(size_t stack_bytes, const std::function<void()>& work);

}  // namespace tea
