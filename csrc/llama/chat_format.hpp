#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "llama/answer_parts.hpp"

namespace tea {

// How a model answers: where its reasoning begins and ends, how it writes calls of functions. Immutable; any
// thread may use it.
class AnswerFormat {
  public:
    struct Description {
        std::string generation_prompt;  // the end of the prompt: grammar and parser begin there
        std::string grammar;            // GBNF, perhaps of calls alone; empty: nothing asks for one
        std::string call_grammar;       // of with_parser: of calls alone; `grammar` is of all of an answer
        std::string reasoning_start;    // empty: there is no reasoning
        std::vector<std::string> reasoning_ends;
        std::vector<std::string> markers;  // control tokens whose texts the parser must see
        std::vector<std::string> stop;
        bool has_calls = false;  // the model has a form for calls
    };

    ~AnswerFormat();
    AnswerFormat(const AnswerFormat&) = delete;
    AnswerFormat& operator=(const AnswerFormat&) = delete;

    const Description& description() const;

    // Takes an answer, or its beginning, apart. searches: where it is stuck, says what is in the part before.
    AnswerParts read(const std::string& text, bool searches = true) const;

    // llama.cpp's parser as JSON: nodes that refer to each other by their index. It knows no schemas.
    const std::string& parser() const;

    // The same format with a parser made from that one; its grammars are the parser's. Throws
    // Error{chat_template} for what is not a parser.
    std::shared_ptr<AnswerFormat> with_parser(const std::string& saved) const;

  private:
    friend class ChatFormat;
    struct Parser;
    explicit AnswerFormat(std::unique_ptr<Parser> parser);

    // None: no answer of this format begins so.
    std::optional<AnswerParts> try_read(const std::string& text) const;
    AnswerParts read_beginning(const std::string& text) const;
    void read_end_mark(const std::string& text, AnswerParts& parts) const;

    std::unique_ptr<Parser> parser_;
};

// The rule that a grammar with `has_schema` refers to and does not have.
constexpr const char* answer_rule = "tea-answer";

struct AnswerOptions {
    std::string tools;         // JSON in the OpenAI API's form; empty: none
    bool is_required = false;  // an answer must be a call
    bool has_schema = false;   // the answer's content is what answer_rule allows; without tools
    bool is_thinking = true;
    std::string generation_prompt;                 // how the prompt really ends; empty: as llama.cpp finds it
    std::map<std::string, std::string> variables;  // more for the template, as JSON
};

// Everything that llama.cpp's common/ knows about a chat template. It renders the template to find out, so a
// template that recurses or loops without end must not reach it. Immutable; any thread may use it.
class ChatFormat {
  public:
    // bos, eos: the texts that the template may ask for. Throws Error{chat_template} for a template that
    // llama.cpp cannot read.
    ChatFormat(const std::string& source, const std::string& bos, const std::string& eos);
    ~ChatFormat();
    ChatFormat(const ChatFormat&) = delete;
    ChatFormat& operator=(const ChatFormat&) = delete;

    // Throws Error{chat_template} when no format can be told, and Error{grammar} for parameters of functions
    // that cannot be made a grammar.
    std::shared_ptr<AnswerFormat> answers(const AnswerOptions& options) const;

  private:
    struct Templates;
    std::unique_ptr<Templates> templates_;
};

}  // namespace tea
