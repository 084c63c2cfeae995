#include "llama/grammar.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string_view>

#include "base/big_stack.hpp"
#include "base/error.hpp"
#include "base/utf8.hpp"
#include "llama-grammar.h"
#include "llama/log.hpp"
#include "llama/tokenizer.hpp"

namespace tea {

namespace {

constexpr size_t max_bytes = 4 << 20;  // bytes
constexpr int32_t max_depth = 256;     // parentheses: llama.cpp's parser is recursive
constexpr size_t parser_stack = 64 << 20;

// Checks what llama.cpp's parser does not survive.
void check_size(const std::string& gbnf) {
    if (gbnf.size() > max_bytes) {
        throw Error(ErrorKind::grammar, "the grammar has " + std::to_string(gbnf.size()) +
                                            " bytes; the most is " + std::to_string(max_bytes));
    }
    if (gbnf.find('\0') != std::string::npos) {
        throw Error(ErrorKind::grammar, "the grammar holds a NUL character");
    }
    int32_t depth = 0;
    for (const char c : gbnf) {
        depth += c == '(' ? 1 : c == ')' ? -1 : 0;
        if (depth > max_depth) {
            throw Error(ErrorKind::grammar, "the grammar's parentheses are nested more than " +
                                                std::to_string(max_depth) + " deep");
        }
    }
}

// An abort concerns this grammar alone, so it is an Error as any other.
template <typename Work>
void guarded(const char* failure, Work work) {
    try {
        runtime::guarded(ErrorKind::grammar, failure, work);
    } catch (const runtime::Aborted& abort) {
        throw Error(abort);
    }
}

// The parser's message ends with all of the grammar that follows the fault: the line and its beginning say
// more.
std::string with_line(const std::string& message, const std::string& gbnf) {
    constexpr size_t max_shown = 40;
    const size_t at = message.find(" at ");
    const size_t n_rest = at == std::string::npos ? 0 : message.size() - at - 4;
    if (at == std::string::npos || n_rest > gbnf.size() ||
        gbnf.compare(gbnf.size() - n_rest, n_rest, message, at + 4, n_rest) != 0) {
        return message;
    }
    const auto place = gbnf.end() - static_cast<std::ptrdiff_t>(n_rest);
    const std::string line = std::to_string(1 + std::count(gbnf.begin(), place, '\n'));
    std::string rest(place, std::find(place, gbnf.end(), '\n'));
    if (rest.size() > max_shown) {
        size_t n = max_shown;
        while ((static_cast<unsigned char>(rest[n]) & 0xC0) == 0x80) {  // inside of a character
            --n;
        }
        rest = rest.substr(0, n) + "...";
    }
    return message.substr(0, at) + " in line " + line +
           (rest.empty() ? ", at its end" : ", at '" + rest + "'");
}

std::string name_of(const llama_grammar_parser& parser, size_t rule) {
    for (const auto& [name, id] : parser.symbol_ids) {
        if (id == rule) {
            return name;
        }
    }
    return "";
}

// As llama_grammar_parser::parse(), which prints to stderr what is wrong and does not return it. Throws
// std::exception with that.
llama_grammar_parser parse(const llama_vocab* vocab, const std::string& gbnf) {
    llama_grammar_parser parser(vocab);
    const char* position = gbnf.c_str();
    for (bool is_comment = false; *position != '\0'; ++position) {  // before the first rule
        is_comment = *position == '#' || (is_comment && *position != '\n' && *position != '\r');
        if (!is_comment && std::strchr(" \t\r\n", *position) == nullptr) {
            break;
        }
    }
    try {
        while (*position != '\0') {
            position = parser.parse_rule(position);
        }
    } catch (const std::exception& error) {
        throw std::invalid_argument(with_line(error.what(), gbnf));
    }
    for (const auto& rule : parser.rules) {
        for (const auto& element : rule) {
            const bool is_there = element.value < parser.rules.size() && !parser.rules[element.value].empty();
            if (element.type == LLAMA_GRETYPE_RULE_REF && !is_there) {
                throw std::invalid_argument("it has no rule named " + name_of(parser, element.value));
            }
        }
    }
    if (parser.symbol_ids.find("root") == parser.symbol_ids.end()) {
        throw std::invalid_argument("it has no rule named root");
    }
    return parser;
}

// llama.cpp refuses a grammar that can be read for one reason alone, and names a rule by its number.
std::string refusal(const llama_grammar_parser& parser, const runtime::LogCapture& log) {
    std::string line = log.last_lines("llama.cpp gives no reason");
    const size_t index = line.rfind("index ");
    if (index == std::string::npos) {
        return line;
    }
    return "its rule " + name_of(parser, std::strtoul(line.c_str() + index + 6, nullptr, 10)) +
           " begins with itself (left recursion)";
}

}  // namespace

Grammar::Grammar(const Model& model, const std::string& gbnf, const std::string& prefix) : model_(model) {
    check_size(gbnf);
    run_on_big_stack(parser_stack, [&] {
        const runtime::LogCapture log(/*is_quiet=*/true);
        guarded("the grammar is not valid GBNF", [&](const runtime::Guard& guard) {
            const llama_vocab* vocab = model.vocab(guard);
            const auto parser = parse(vocab, gbnf);
            sampler_ = Handle<llama_sampler>(llama_sampler_init_grammar(vocab, gbnf.c_str(), "root"));
            if (!sampler_) {
                throw std::invalid_argument(refusal(parser, log));
            }
        });
    });
    // One by one: behind a control token some vocabularies begin the text with a space.
    for (size_t begin = 0; begin < prefix.size();) {
        const size_t n_bytes = utf8::decode_one(std::string_view(prefix).substr(begin)).n_bytes;
        for (const int32_t token : tokenizer::encode_further(model, prefix.substr(begin, n_bytes))) {
            accept(token);
        }
        begin += n_bytes;
    }
}

std::vector<bool> Grammar::allowed(const std::vector<int32_t>& tokens) const {
    std::vector<llama_token_data> candidates;
    candidates.reserve(tokens.size());
    for (const int32_t token : tokens) {
        candidates.push_back({token, 0, 0});
    }
    llama_token_data_array array{candidates.data(), candidates.size(), -1, false};
    guarded("the grammar failed",
            [&](const runtime::Guard& guard) { llama_sampler_apply(sampler_.get(guard), &array); });
    std::vector<bool> allowed;
    allowed.reserve(tokens.size());
    for (const auto& candidate : candidates) {
        allowed.push_back(std::isfinite(candidate.logit) && keeps_utf8(candidate.id));
    }
    return allowed;
}

// llama.cpp's grammars read overlong sequences as the characters that they stand for.
bool Grammar::keeps_utf8(int32_t token) const {
    if (model_.is_end_of_generation(token)) {
        return true;
    }
    const std::string bytes = unfinished_ + tokenizer::piece(model_, token);
    for (size_t begin = 0; begin < bytes.size();) {
        const auto decoded = utf8::decode_one(std::string_view(bytes).substr(begin));
        if (!decoded.is_valid) {
            return decoded.is_unfinished;
        }
        begin += decoded.n_bytes;
    }
    return true;
}

void Grammar::accept(int32_t token) {
    guarded("the grammar cannot take a token",
            [&](const runtime::Guard& guard) { llama_sampler_accept(sampler_.get(guard), token); });
    unfinished_ += tokenizer::piece(model_, token);
    for (size_t n = 1; n > 0 && !unfinished_.empty();) {
        const auto decoded = utf8::decode_one(unfinished_);
        n = decoded.is_unfinished ? 0 : decoded.n_bytes;
        unfinished_.erase(0, n);
    }
}

}  // namespace tea
