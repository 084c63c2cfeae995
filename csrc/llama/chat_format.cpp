#include "llama/chat_format.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/big_stack.hpp"
#include "base/error.hpp"
#include "chat.h"
#include "json-schema-to-grammar.h"
#include "llama/abort_guard.hpp"
#include "llama/runtime.hpp"
#include "log.h"
#include "peg-parser.h"

namespace tea {

namespace {

constexpr size_t stack_bytes = 256 << 20;  // llama.cpp's parsers are recursive
constexpr size_t max_depth = 1000;         // brackets inside of each other in an answer
constexpr size_t max_mark_bytes = 64;      // bytes
constexpr size_t small_text = 8 << 10;     // bytes that can be parsed on a usual stack

// Runs llama.cpp's code where neither its recursion nor its assertions end the process.
template <typename Work>
void guarded(ErrorKind kind, const char* failure, bool is_deep, Work work) {
    const auto run = [&] { runtime::guarded(kind, failure, [&](const runtime::Guard&) { work(); }); };
    if (is_deep) {
        run_on_big_stack(stack_bytes, run);
    } else {
        run();
    }
}

size_t depth_of(const std::string& text) {
    size_t depth = 0;
    size_t deepest = 0;
    for (const char c : text) {
        if (c == '{' || c == '[' || c == '(') {
            deepest = std::max(deepest, ++depth);
        } else if ((c == '}' || c == ']' || c == ')') && depth > 0) {
            --depth;
        }
    }
    return deepest;
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
        gbnf.append(name).append(" ::= ").append(body).append("\n");
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
    if (depth_of(text) > max_depth) {
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
    if (auto parts = try_read(text)) {
        best = std::move(*parts);
        best.bytes_good = text.size();
    } else {
        if (searches) {
            best = read_beginning(text);
        }
        best.state = AnswerParts::State::stuck;
    }
    if (!best.calls.empty() && best.calls.back().is_closed && best.bytes_read < best.bytes_good) {
        read_end_mark(text, best);
    }
    return best;
}

// Of the longest beginning that can be read: llama.cpp does not say how far it came.
AnswerParts AnswerFormat::read_beginning(const std::string& text) const {
    AnswerParts best;
    const auto reads = [&](size_t n_bytes) {
        auto parts = try_read(text.substr(0, n_bytes));
        if (parts) {
            best = std::move(*parts);
            best.bytes_good = n_bytes;
        }
        return parts.has_value();
    };
    // Within some marks it fails, and reads the text again that ends before or behind them.
    size_t bad = text.size();
    for (const size_t lowest = bad - std::min(bad, max_mark_bytes / 2); bad > lowest + 1; --bad) {
        if (reads(bad - 1)) {
            return best;
        }
    }
    while (best.bytes_good + 1 < bad) {
        const size_t middle = best.bytes_good + (bad - best.bytes_good) / 2;
        if (!reads(middle)) {
            bad = middle;
        }
    }
    return best;
}

// The mark that ends calls: llama.cpp's parser has it in no node, and tells of it where the text ends with
// it.
void AnswerFormat::read_end_mark(const std::string& text, AnswerParts& parts) const {
    const size_t first =
        std::max(parts.bytes_read, parts.bytes_good - std::min(parts.bytes_good, max_mark_bytes));
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
