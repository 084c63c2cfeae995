#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tea {

// A function that an answer asks for. `arguments` are JSON, or the beginning of it while the answer grows.
struct AnswerCall {
    std::string id;  // empty: this kind of model gives none
    std::string name;
    std::string arguments;
};

// What is in an answer.
struct AnswerParts {
    std::string content;
    std::string reasoning;
    std::vector<AnswerCall> calls;
};

// How a model answers: where its reasoning begins and ends, how it writes calls of functions. Immutable; any
// thread may use it.
class AnswerFormat {
  public:
    struct Description {
        std::string generation_prompt;  // the end of the prompt: grammar and parser begin there
        std::string grammar;            // GBNF of all of an answer; empty: nothing asks for one
        std::string call_grammar;       // GBNF of its calls alone
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

    // Takes an answer apart. is_partial: more of it may come. None: it is not of this format.
    std::optional<AnswerParts> parse(const std::string& text, bool is_partial) const;

  private:
    friend class ChatFormat;
    struct Parser;
    explicit AnswerFormat(std::unique_ptr<Parser> parser);

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

// What llama.cpp's common/ knows of a chat template. It renders the template to find out: one that recurses
// or loops without end must not come here. Immutable; any thread may use it.
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
