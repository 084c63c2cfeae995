#include "engine/chat_format.hpp"

#include <algorithm>
#include <cctype>
#include <exception>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat-peg-parser.h"
#include "chat.h"
#include "engine/big_stack.hpp"
#include "engine/error.hpp"
#include "engine/runtime.hpp"
#include "json-schema-to-grammar.h"
#include "log.h"
#include "peg-parser.h"

namespace tea {

namespace {

constexpr size_t stack_bytes = 256 << 20;  // llama.cpp's parsers are recursive
constexpr size_t deepest = 1000;           // brackets inside of each other in an answer
constexpr size_t longest_mark = 64;        // bytes
constexpr size_t small_text = 16 << 10;    // bytes that can be parsed on a usual stack

// Runs llama.cpp's code where neither its recursion nor its assertions end the process.
template <typename Work>
void guarded(ErrorKind kind, const char* what, bool is_deep, Work work) {
    try {
        const auto run = [&] {
            const runtime::AbortGuard guard;
            work();
            guard.check();
        };
        if (is_deep) {
            run_on_big_stack(stack_bytes, run);
        } else {
            run();
        }
    } catch (const Error&) {
        throw;
    } catch (const std::exception& error) {
        throw Error(kind, std::string(what) + ": " + error.what());
    }
}

size_t depth_of(const std::string& text) {
    size_t depth = 0;
    size_t most = 0;
    for (const char c : text) {
        if (c == '{' || c == '[' || c == '(') {
            most = std::max(most, ++depth);
        } else if ((c == '}' || c == ']' || c == ')') && depth > 0) {
            --depth;
        }
    }
    return most;
}

common_chat_templates_inputs inputs_of(const AnswerOptions& options) {
    common_chat_msg message;
    message.role = "user";
    message.content = "Hi";
    common_chat_templates_inputs inputs;
    inputs.messages = {message};
    inputs.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
    inputs.enable_thinking = options.is_thinking;
    inputs.parallel_tool_calls = true;
    inputs.chat_template_kwargs = options.variables;
    if (!options.tools.empty()) {
        inputs.tools = common_chat_tools_parse_oaicompat(common_json::parse(options.tools));
        inputs.tool_choice =
            options.is_required ? COMMON_CHAT_TOOL_CHOICE_REQUIRED : COMMON_CHAT_TOOL_CHOICE_AUTO;
    }
    if (options.has_schema) {
        inputs.json_schema = R"({"type": "object"})";
    }
    return inputs;
}

using Rules = std::map<std::string, std::string>;

// The rules of what llama.cpp writes: one a line.
Rules rules_of(const std::string& gbnf) {
    Rules rules;
    std::istringstream lines(gbnf);
    for (std::string line; std::getline(lines, line);) {
        const size_t sign = line.find(" ::= ");
        if (sign != std::string::npos) {
            rules.emplace(line.substr(0, sign), line.substr(sign + 5));
        }
    }
    return rules;
}

std::string gbnf_of(const Rules& rules) {
    std::string gbnf;
    for (const auto& [name, body] : rules) {
        gbnf += name + " ::= " + body + "\n";
    }
    return gbnf;
}

Rules rules_of(const common_peg_arena& parser, bool is_lazy) {
    return rules_of(build_grammar(
        [&](const common_grammar_builder& builder) { parser.build_grammar(builder, is_lazy); }));
}

// A grammar whose answers are what answer_rule allows instead of any JSON object.
std::string with_answer_rule(const std::string& gbnf) {
    Rules rules = rules_of(gbnf);
    for (const char* name : {"response-format-schema", "response-format"}) {  // of the schema that we gave
        const auto rule = rules.find(name);
        if (rule != rules.end()) {
            rule->second = answer_rule;
            return gbnf_of(rules);
        }
    }
    throw std::runtime_error("no rule for the response format");
}

// Escapes the characters that JSON wants escaped in a string, and that models write as they are.
std::string with_escapes(const std::string& json) {
    static constexpr const char* hex = "0123456789abcdef";
    std::string escaped;
    bool is_string = false;
    bool is_escape = false;
    for (const char c : json) {
        if (is_string && static_cast<unsigned char>(c) < 0x20) {
            escaped += is_escape ? "u00" : "\\u00";
            escaped += {hex[c >> 4], hex[c & 15]};
        } else {
            escaped += c;
        }
        is_string = is_string != (c == '"' && !is_escape);
        is_escape = is_string && c == '\\' && !is_escape;
    }
    return escaped;
}

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
        if (!is_reasoning && parts_.is_reasoning && !parts_.reasoning.empty() &&
            node.start == reasoning_end_) {
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

// None: no answer begins so.
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
        parts.calls[i].arguments = with_escapes(message.tool_calls[i].arguments);
    }
    return parts;
}

}  // namespace

struct ChatFormat::Templates {
    common_chat_templates_ptr parsed;
};

struct AnswerFormat::Parser {
    Description description;
    common_chat_parser_params params;
    std::string saved;  // the parser in params, as llama.cpp writes it
};

AnswerFormat::AnswerFormat(std::unique_ptr<Parser> parser) : parser_(std::move(parser)) {}
AnswerFormat::~AnswerFormat() = default;

const AnswerFormat::Description& AnswerFormat::description() const {
    return parser_->description;
}

const std::string& AnswerFormat::parser() const {
    return parser_->saved;
}

std::shared_ptr<AnswerFormat> AnswerFormat::with_parser(const std::string& saved) const {
    auto made = std::make_unique<Parser>(Parser{parser_->description, parser_->params, saved});
    guarded(ErrorKind::chat_template, "llama.cpp cannot read the parser", /*is_deep=*/true, [&] {
        auto& arena = made->params.parser;
        arena.load(saved);
        made->description.grammar = gbnf_of(rules_of(arena, /*is_lazy=*/false));
        made->description.call_grammar = gbnf_of(rules_of(arena, /*is_lazy=*/true));
    });
    return std::shared_ptr<AnswerFormat>(new AnswerFormat(std::move(made)));
}

std::optional<AnswerParts> AnswerFormat::try_read(const std::string& text) const {
    if (depth_of(text) > deepest) {
        return std::nullopt;
    }
    std::optional<AnswerParts> parts;
    try {
        guarded(ErrorKind::chat_template, "", text.size() > small_text,
                [&] { parts = parts_of(parser_->params, parser_->description.markers, text); });
    } catch (const Error&) {
        return std::nullopt;
    }
    return parts;
}

AnswerParts AnswerFormat::read(const std::string& text, bool searches) const {
    AnswerParts best;
    size_t good = text.size();
    if (auto parts = try_read(text)) {
        best = std::move(*parts);
    } else {
        good = 0;
        for (size_t bad = searches ? text.size() : 0;
             good + 1 < bad;) {  // llama.cpp says not how far it came
            const size_t middle = good + (bad - good) / 2;
            if ((parts = try_read(text.substr(0, middle)))) {
                best = std::move(*parts);
                good = middle;
            } else {
                bad = middle;
            }
        }
        best.state = AnswerParts::State::stuck;
    }
    best.bytes_good = good;
    if (!best.calls.empty() && best.calls.back().is_closed && best.bytes_read < good) {
        read_end_mark(text, best);
    }
    return best;
}

// The mark that ends calls: llama.cpp's parser has it in no node, and tells of it where the text ends with
// it.
void AnswerFormat::read_end_mark(const std::string& text, AnswerParts& parts) const {
    const size_t first =
        std::max(parts.bytes_read, parts.bytes_good - std::min(parts.bytes_good, longest_mark));
    for (size_t end = parts.bytes_good; end > first; --end) {
        const auto shorter = try_read(text.substr(0, end));
        if (shorter && shorter->state == AnswerParts::State::whole) {
            parts.bytes_read = shorter->bytes_read;
            return;
        }
    }
}

ChatFormat::ChatFormat(const std::string& source, const std::string& bos, const std::string& eos)
    : templates_(std::make_unique<Templates>()) {
    runtime::initialize();
    guarded(ErrorKind::chat_template, "llama.cpp cannot read the chat template", /*is_deep=*/true, [&] {
        common_log_set_verbosity_thold(-1);  // its log is a thread that writes to stderr
        templates_->parsed = common_chat_templates_init(nullptr, source, bos, eos);
    });
}

ChatFormat::~ChatFormat() = default;

std::shared_ptr<AnswerFormat> ChatFormat::answers(const AnswerOptions& options) const {
    auto parser = std::make_unique<AnswerFormat::Parser>();
    AnswerFormat::Description& description = parser->description;
    guarded(
        ErrorKind::chat_template, "llama.cpp finds no format in the chat template", /*is_deep=*/true, [&] {
            const common_chat_templates_inputs inputs = inputs_of(options);
            const common_chat_params params = common_chat_templates_apply(templates_->parsed.get(), inputs);
            description.generation_prompt =
                options.generation_prompt.empty() ? params.generation_prompt : options.generation_prompt;
            description.reasoning_start = params.thinking_start_tag;
            description.reasoning_ends = params.thinking_end_tags;
            description.markers = params.preserved_tokens;
            description.stop = params.additional_stops;
            description.has_calls = params.parser.find("\"trigger\":true") != std::string::npos;
            parser->params = common_chat_parser_params(params);
            parser->params.generation_prompt = description.generation_prompt;
            parser->params.reasoning_format = inputs.reasoning_format;
            parser->params.parser.load(params.parser);
            parser->saved = params.parser;
            description.grammar = options.has_schema ? with_answer_rule(params.grammar) : params.grammar;
        });
    return std::shared_ptr<AnswerFormat>(new AnswerFormat(std::move(parser)));
}

}  // namespace tea
