#pragma once

#include <cstddef>
#include <string_view>

namespace tea::utf8 {

struct Decoded {
    size_t n_bytes;      // of `bytes` that were looked at
    bool is_valid;       // a character; else bytes that never become one
    bool is_unfinished;  // more bytes are needed to tell
};

// The character at the start of `bytes`, by the table of well-formed sequences (Unicode 3-7). Invalid
// bytes are taken in the "maximal subpart" way, as Python's errors="replace" does.
Decoded decode_one(std::string_view bytes);

}  // namespace tea::utf8
