#include "base/utf8.hpp"

namespace tea::utf8 {

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

}  // namespace tea::utf8
