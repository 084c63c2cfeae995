#include "bindings/common.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "llama/chat_format.hpp"

namespace tea::bindings {

namespace {

// llama.cpp may cut between the bytes of a character.
py::str text_of(const std::string& bytes) {
    auto* decoded = PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "ignore");
    if (decoded == nullptr) {
        throw py::error_already_set();
    }
    return py::reinterpret_steal<py::str>(decoded);
}

py::list text_of(const std::vector<std::string>& texts) {
    py::list list;
    for (const auto& text : texts) {
        list.append(text_of(text));
    }
    return list;
}

void register_answer_parts(py::module_& module) {
    py::class_<AnswerCall> call(module, "AnswerCall", "A call in an answer.");
    call.def_property_readonly("id", [](const AnswerCall& self) { return text_of(self.id); });
    call.def_property_readonly("name", [](const AnswerCall& self) { return text_of(self.name); });
    call.def_property_readonly("arguments", [](const AnswerCall& self) { return text_of(self.arguments); });
    call.def_readonly("begin", &AnswerCall::begin);
    call.def_readonly("content_bytes", &AnswerCall::content_bytes);
    call.def_readonly("is_closed", &AnswerCall::is_closed);

    py::class_<AnswerParts> parts(module, "AnswerParts", "What is in an answer, as far as it can be read.");
    parts.def_property_readonly("state", [](const AnswerParts& self) {
        static constexpr const char* names[] = {"whole", "open", "stuck"};
        return names[static_cast<size_t>(self.state)];
    });
    parts.def_property_readonly("content", [](const AnswerParts& self) { return text_of(self.content); });
    parts.def_property_readonly("reasoning", [](const AnswerParts& self) { return text_of(self.reasoning); });
    parts.def_readonly("calls", &AnswerParts::calls);
    parts.def_readonly("bytes_read", &AnswerParts::bytes_read);
    parts.def_readonly("bytes_good", &AnswerParts::bytes_good);
    parts.def_readonly("is_reasoning", &AnswerParts::is_reasoning);
}

}  // namespace

void register_chat_format(py::module_& module) {
    register_answer_parts(module);
    py::class_<AnswerFormat, std::shared_ptr<AnswerFormat>> answers(
        module, "AnswerFormat", "How answers are written. Safe to use from any thread.");
    const auto describe = [&answers](const char* name, auto member) {
        answers.def_property_readonly(
            name, [member](const AnswerFormat& self) { return text_of(self.description().*member); });
    };
    describe("generation_prompt", &AnswerFormat::Description::generation_prompt);
    describe("grammar", &AnswerFormat::Description::grammar);
    describe("call_grammar", &AnswerFormat::Description::call_grammar);
    describe("reasoning_start", &AnswerFormat::Description::reasoning_start);
    describe("reasoning_ends", &AnswerFormat::Description::reasoning_ends);
    describe("markers", &AnswerFormat::Description::markers);
    describe("stop", &AnswerFormat::Description::stop);
    answers.def_property_readonly("has_calls",
                                  [](const AnswerFormat& self) { return self.description().has_calls; });
    answers.def("read", &AnswerFormat::read, py::arg("text"), py::kw_only(), py::arg("searches") = true,
                py::call_guard<GilRelease>(), "What is in an answer, or in its beginning.");
    answers.def_property_readonly("parser", [](const AnswerFormat& self) { return text_of(self.parser()); });
    answers.def(
        "with_parser",
        [](const AnswerFormat& self, const std::string& saved) {
            const GilRelease released;
            return self.with_parser(saved);
        },
        py::arg("saved"), "The same with a parser made from ``parser``; its grammars are the parser's.");

    py::class_<ChatFormat, std::shared_ptr<ChatFormat>> format(
        module, "ChatFormat", "What llama.cpp knows of a chat template. Safe to use from any thread.");
    format.def(py::init([](const std::string& source, const std::string& bos, const std::string& eos) {
                   const GilRelease released;
                   return std::make_shared<ChatFormat>(source, bos, eos);
               }),
               py::arg("source"), py::arg("bos"), py::arg("eos"));
    format.def(
        "answers",
        [](const ChatFormat& self, std::string tools, bool is_required, bool has_schema, bool is_thinking,
           std::string generation_prompt, std::map<std::string, std::string> variables) {
            const GilRelease released;
            return self.answers({std::move(tools), is_required, has_schema, is_thinking,
                                 std::move(generation_prompt), std::move(variables)});
        },
        py::kw_only(), py::arg("tools") = "", py::arg("is_required") = false, py::arg("has_schema") = false,
        py::arg("is_thinking") = true, py::arg("generation_prompt") = "",
        py::arg("variables") = std::map<std::string, std::string>{});
    module.attr("ANSWER_RULE") = answer_rule;
}

}  // namespace tea::bindings
