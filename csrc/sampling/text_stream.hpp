#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tea {

// Turns the bytes of generated tokens into text that can be shown: whole UTF-8 characters only, and
// nothing that may still become a stop string. Bytes that can never be UTF-8 become U+FFFD.
class TextStream {
  public:
    explicit TextStream(std::vector<std::string> stop) : stop_(std::move(stop)) {}

    // Takes the next bytes and returns the text that is now certain. When a stop string is complete,
    // the text ends right before it, has_stopped() is true and no more bytes are taken.
    std::string push(std::string_view bytes);

    // The text that was held back when generation ended for another reason. `is_cut`: by a limit, so
    // that an unfinished character is left out; else it is damaged and becomes U+FFFD.
    std::string finish(bool is_cut);

    bool has_stopped() const { return has_stopped_; }

  private:
    std::string release(bool is_final);

    std::vector<std::string> stop_;
    std::string bytes_;  // an unfinished UTF-8 character
    std::string text_;   // valid UTF-8 that may begin a stop string
    bool has_stopped_ = false;
};

}  // namespace tea
