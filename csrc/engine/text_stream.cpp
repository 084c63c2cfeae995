#include "engine/text_stream.hpp"

#include <algorithm>

namespace tea {

namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

struct Decoded {
    size_t n_bytes;      // of `bytes` that were looked at
    bool is_valid;       // a character; else bytes that never become one
    bool is_unfinished;  // more bytes are needed to tell
};

// The character at the start of `bytes`, by the table of well-formed sequences (Unicode 3-7). Invalid
// bytes are taken in the "maximal subpart" way, as Python's errors="replace" does.
Decoded decode_one(std::string_view bytes) {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
    const unsigned char lead = byte(0);
    size_t length = 0;
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    if (lead < 0x80) {
        return {1, true, false};
    }
    if (lead >= 0xC2 && lead <= 0xDF) {
        length = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        length = 3;
        low = lead == 0xE0 ? 0xA0 : 0x80;
        high = lead == 0xED ? 0x9F : 0xBF;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        length = 4;
        low = lead == 0xF0 ? 0x90 : 0x80;
        high = lead == 0xF4 ? 0x8F : 0xBF;
    } else {
        return {1, false, false};
    }
    for (size_t i = 1; i < length; ++i) {
        if (i == bytes.size()) {
            return {i, false, true};
        }
        if (byte(i) < low || byte(i) > high) {
            return {i, false, false};
        }
        low = 0x80;
        high = 0xBF;
    }
    return {length, true, false};
}

// Moves whole characters from `bytes` to the end of `text`.
void move_characters(std::string& bytes, std::string& text) {
    size_t begin = 0;
    while (begin < bytes.size()) {
        const auto rest = std::string_view(bytes).substr(begin);
        const Decoded decoded = decode_one(rest);
        if (decoded.is_unfinished) {
            break;
        }
        text += decoded.is_valid ? rest.substr(0, decoded.n_bytes) : replacement;
        begin += decoded.n_bytes;
    }
    bytes.erase(0, begin);
}

// Length of the longest end of `text` that `stop` begins with (all of it excluded).
size_t overlap(std::string_view text, std::string_view stop) {
    for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
        if (text.substr(text.size() - n) == stop.substr(0, n)) {
            return n;
        }
    }
    return 0;
}

}  // namespace

std::string TextStream::push(std::string_view bytes) {
    if (has_stopped_) {
        return {};
    }
    bytes_ += bytes;
    move_characters(bytes_, text_);
    return release(/*is_final=*/false);
}

std::string TextStream::finish(bool is_cut) {
    if (has_stopped_) {
        return {};
    }
    if (!bytes_.empty() && !is_cut) {
        text_ += replacement;
    }
    bytes_.clear();
    return release(/*is_final=*/true);
}

std::string TextStream::release(bool is_final) {
    size_t end = text_.size();
    for (const auto& stop : stop_) {
        end = std::min(end, text_.find(stop));
    }
    has_stopped_ = end < text_.size();
    size_t n_held = 0;
    if (!has_stopped_ && !is_final) {
        for (const auto& stop : stop_) {
            n_held = std::max(n_held, overlap(text_, stop));
        }
    }
    std::string certain = text_.substr(0, end - n_held);
    text_.erase(0, certain.size());
    return certain;
}

}  // namespace tea
