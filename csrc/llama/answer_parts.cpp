#include "llama/answer_parts.hpp"

#include <algorithm>
#include <cctype>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat-peg-parser.h"
#include "chat.h"
#include "peg-parser.h"

namespace tea {

namespace {

// A character as JSON escapes it.
std::string escape_of(unsigned long code) {
    if (code >= 0x10000) {
        const unsigned long rest = code - 0x10000;
        return escape_of(0xd800 + ((rest >> 10) & 0x3ff)) + escape_of(0xdc00 + (rest & 0x3ff));
    }
    std::string escaped = "\\u";
    for (const int shift : {12, 8, 4, 0}) {
        escaped += "0123456789abcdef"[(code >> shift) & 15];
    }
    return escaped;
}

// Turns a model's string between quotes, or its beginning, into JSON: models leave control characters as
// they are and use Python's escapes. An escape that is not complete is left out.
class JsonWriter {
  public:
    explicit JsonWriter(const std::string& text) : text_(text) {}

    std::string write() {
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (is_string_ && c == '\\') {
                add_escape();
            } else if (is_string_ && is_control(c)) {
                add(1, escape_of(static_cast<unsigned char>(c)));
            } else if (!is_string_ && std::isupper(static_cast<unsigned char>(c)) != 0 && !is_in_word()) {
                add_word();
            } else {
                is_string_ = is_string_ != (c == '"');
                add(1, {c});
            }
        }
        return std::move(json_);
    }

  private:
    static bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20; }

    void add(size_t length, const std::string& json) {
        at_ += length;
        json_ += json;
    }

    bool is_in_word() const {
        return at_ > 0 && std::isalnum(static_cast<unsigned char>(text_[at_ - 1])) != 0;
    }

    void add_escape() {
        const char kind = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
        const size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
        if (at_ + 1 == text_.size() || at_ + 2 + digits > text_.size()) {
            at_ = text_.size();
        } else if (digits > 0) {
            add(2 + digits, escape_of(std::stoul(text_.substr(at_ + 2, digits), nullptr, 16)));
        } else if (kind == '\'') {
            add(2, "'");
        } else if (is_control(kind)) {
            add(2, "\\" + escape_of(static_cast<unsigned char>(kind)).substr(1));
        } else {
            add(2, {'\\', kind});
        }
    }

    // Python's words, from their first letter on.
    void add_word() {
        size_t end = at_;
        while (end < text_.size() && std::isalpha(static_cast<unsigned char>(text_[end])) != 0) {
            ++end;
        }
        const std::string word = text_.substr(at_, end - at_);
        for (const auto& [python, json] : {std::pair{"True", "true"}, {"False", "false"}, {"None", "null"}}) {
            if (std::string(python).compare(0, word.size(), word) == 0) {
                add(word.size(), std::string(json).substr(0, word.size()));
                return;
            }
        }
        add(word.size(), word);
    }

    const std::string& text_;
    std::string json_;
    size_t at_ = 0;
    bool is_string_ = false;
};

// Collects what llama.cpp's parser says of a prompt's end and the text behind it, in the text's order.
class PartsReader {
  public:
    PartsReader(const common_peg_ast_arena& nodes, const std::string& input, size_t prompt_bytes,
                const std::vector<std::string>& markers)
        : nodes_(nodes), input_(input), prompt_bytes_(prompt_bytes), markers_(markers) {}

    AnswerParts read(const common_peg_parse_result& result) {
        walk(result.nodes, /*is_tool=*/false);
        if (result.success()) {
            read_up_to(result.end);
            close_call();
        }
        parts_.state = result.success() ? AnswerParts::State::whole : AnswerParts::State::open;
        return std::move(parts_);
    }

  private:
    using Tags = common_chat_peg_builder;

    void walk(const std::vector<common_peg_ast_id>& ids, bool is_tool) {
        for (const auto id : ids) {
            const common_peg_ast_node& node = nodes_.get(id);
            const bool is_outer = node.tag == Tags::TOOL;
            if (node.tag == Tags::CONTENT || node.tag == Tags::REASONING) {
                add_text(node, node.tag == Tags::REASONING);
                continue;
            }
            if (node.rule == "scan-to-toolcall" || node.rule == "unsolicited") {  // what llama.cpp drops
                add_skipped(node);
                continue;
            }
            if (is_outer || (node.tag == Tags::TOOL_OPEN && !is_tool)) {
                close_call();
                parts_.is_reasoning = false;
                parts_.calls.emplace_back();
                parts_.calls.back().begin = parts_.bytes_read;
                parts_.calls.back().content_bytes = parts_.content.size();
            }
            walk(node.children, is_tool || is_outer);
            if (node.tag.rfind(Tags::TOOL, 0) == 0) {
                call_end_ = std::max(call_end_, node.end);
            }
            if ((is_outer || node.tag == Tags::TOOL_CLOSE) && !node.is_partial) {
                close_call();
            }
        }
    }

    void add_text(const common_peg_ast_node& node, bool is_reasoning) {
        const bool has_reasoning = !parts_.reasoning.empty() || reasoning_end_ > prompt_bytes_;
        if (!is_reasoning && parts_.is_reasoning && has_reasoning && node.start == reasoning_end_) {
            return;  // no mark between them: it is the beginning of one
        }
        close_call();
        size_t begin = std::max(node.start, prompt_bytes_);
        std::string& text = is_reasoning ? parts_.reasoning : parts_.content;
        if (text.empty() && (is_reasoning || !parts_.reasoning.empty())) {  // what parts them
            begin = skip_space(begin, node.end);
        }
        if (begin < node.end) {
            text.append(input_, begin, node.end - begin);
        }
        read_up_to(node.end);
        parts_.is_reasoning = is_reasoning;
        reasoning_end_ = node.end;
    }

    // Text that llama.cpp's parser consumes and does not give, behind the markers that it begins with.
    void add_skipped(const common_peg_ast_node& node) {
        common_peg_ast_node rest = node;
        while (const size_t length = marker_bytes(rest.start)) {
            rest.start = skip_space(rest.start + length, rest.end);
        }
        const std::string_view text = std::string_view(input_).substr(rest.start, rest.end - rest.start);
        const bool may_be_marker = std::any_of(markers_.begin(), markers_.end(), [&](const auto& marker) {
            return node.is_partial && marker.compare(0, text.size(), text) == 0;
        });
        if (!may_be_marker) {
            add_text(rest, /*is_reasoning=*/false);
        }
    }

    // Of the marker that stands there; 0: none does.
    size_t marker_bytes(size_t begin) const {
        for (const auto& marker : markers_) {
            if (!marker.empty() && input_.compare(begin, marker.size(), marker) == 0) {
                return marker.size();
            }
        }
        return 0;
    }

    size_t skip_space(size_t begin, size_t end) const {
        while (begin < end && std::isspace(static_cast<unsigned char>(input_[begin])) != 0) {
            ++begin;
        }
        return begin;
    }

    void close_call() {
        if (!parts_.calls.empty() && !parts_.calls.back().is_closed) {
            parts_.calls.back().is_closed = true;
            read_up_to(call_end_);
        }
    }

    void read_up_to(size_t end) {
        parts_.bytes_read = std::max(parts_.bytes_read, std::max(end, prompt_bytes_) - prompt_bytes_);
    }

    const common_peg_ast_arena& nodes_;
    const std::string& input_;
    const size_t prompt_bytes_;
    const std::vector<std::string>& markers_;
    AnswerParts parts_;
    size_t call_end_ = 0;
    size_t reasoning_end_ = 0;
};

std::unique_ptr<common_chat_peg_mapper> mapper_of(common_chat_format format, common_chat_msg& message) {
    switch (format) {
        case COMMON_CHAT_FORMAT_PEG_GEMMA4:
            return std::make_unique<common_chat_peg_gemma4_mapper>(message);
        case COMMON_CHAT_FORMAT_PEG_MINIMAX_M3:
            return std::make_unique<common_chat_peg_minimax_m3_mapper>(message);
        default:
            return std::make_unique<common_chat_peg_mapper>(message);
    }
}

}  // namespace

std::optional<AnswerParts> parts_of(const common_chat_parser_params& params,
                                    const std::vector<std::string>& markers, const std::string& text) {
    const std::string input = params.generation_prompt + text;
    common_peg_parse_context context(input, COMMON_PEG_PARSE_FLAG_LENIENT);
    const common_peg_parse_result result = params.parser.parse(context);
    if (result.fail()) {
        return std::nullopt;
    }
    AnswerParts parts =
        PartsReader(context.ast, input, params.generation_prompt.size(), markers).read(result);
    common_chat_msg message;
    mapper_of(params.format, message)->from_ast(context.ast, result);
    if (message.tool_calls.size() > parts.calls.size()) {
        throw std::logic_error("a call without a place");
    }
    parts.calls.resize(message.tool_calls.size());  // behind them: one that has no name yet
    for (size_t i = 0; i < parts.calls.size(); ++i) {
        parts.calls[i].id = std::move(message.tool_calls[i].id);
        parts.calls[i].name = std::move(message.tool_calls[i].name);
        parts.calls[i].arguments = JsonWriter(message.tool_calls[i].arguments).write();
    }
    return parts;
}

}  // namespace tea
