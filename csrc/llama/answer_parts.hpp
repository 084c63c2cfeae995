#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

struct common_chat_parser_params;

namespace tea {

// A function that an answer asks for.
struct AnswerCall {
    std::string id;  // empty: this kind of model gives none
    std::string name;
    std::string arguments;     // JSON, or the beginning of it
    size_t begin = 0;          // byte of the text: all before it is read
    size_t content_bytes = 0;  // of the content, before the call
    bool is_closed = false;    // all of it is there
};

// The parts of an answer, as far as it can be read.
struct AnswerParts {
    enum class State {
        whole,  // the text may end here
        open,   // something has begun that has not ended
        stuck,  // no answer of this format begins so
    };
    State state = State::whole;
    size_t bytes_read = 0;      // the text behind it is in no part
    size_t bytes_good = 0;      // stuck: of the longest beginning that is not
    bool is_reasoning = false;  // what was read last is reasoning
    std::string content;
    std::string reasoning;
    std::vector<AnswerCall> calls;
};

// The parts that llama.cpp's parser finds in an answer or its beginning. markers: control tokens whose text
// it must see. nullopt: no answer of this format begins like this.
std::optional<AnswerParts> parts_of(const common_chat_parser_params& params,
                                    const std::vector<std::string>& markers, const std::string& text);

}  // namespace tea
