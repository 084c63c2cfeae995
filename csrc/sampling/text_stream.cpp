#include "sampling/text_stream.hpp"

#include <algorithm>

#include "base/utf8.hpp"

namespace tea {

namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

// Moves whole characters from `bytes` to the end of `text`.
void move_characters(std::string& bytes, std::string& text) {
    size_t begin = 0;
    while (begin < bytes.size()) {
        const auto rest = std::string_view(bytes).substr(begin);
        const utf8::Decoded decoded = utf8::decode_one(rest);
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
