#include "bindings/common.hpp"

#include "bindings/py_request.hpp"

#include <pybind11/numpy.h>

#include <string>

namespace tea::bindings {

void register_request(py::module_& module) {
    py::class_<RequestResult>(module, "RequestResult", "What a finished request gave.")
        .def_readonly("text", &RequestResult::text)
        .def_property_readonly("finish_reason",
                               [](const RequestResult& self) {
                                   return self.finish_reason == FinishReason::stop ? "stop" : "length";
                               })
        .def_property_readonly("n_prompt", [](const RequestResult& self) { return self.usage.n_prompt; })
        .def_property_readonly("n_cached", [](const RequestResult& self) { return self.usage.n_cached; })
        .def_property_readonly("n_generated",
                               [](const RequestResult& self) { return self.usage.n_generated; })
        .def_property_readonly(
            "top_logits",
            [](const RequestResult& self) {
                py::list steps;
                for (const auto& step : self.top_logits) {
                    py::list best;
                    for (const auto& [token, logit] : step) {
                        best.append(py::make_tuple(token, logit));
                    }
                    steps.append(best);
                }
                return steps;
            },
            "For each sampled token the best (token, raw logit) of its row, best first.")
        .def_property_readonly(
            "scores", [](const RequestResult& self) { return py::array_t<float>(py::cast(self.scores)); },
            "Log-probabilities of the prompt's tokens but the first.")
        .def_property_readonly(
            "logprobs",
            [](const RequestResult& self) {
                const auto entry = [](const TokenLogprob& one) {
                    return py::make_tuple(py::bytes(one.piece), one.logprob);
                };
                py::list tokens;
                for (const auto& step : self.logprobs) {
                    py::list best;
                    for (const auto& one : step.best) {
                        best.append(entry(one));
                    }
                    tokens.append(py::make_tuple(entry(step.chosen), best));
                }
                return tokens;
            },
            "Of each generated token (bytes, log-probability), and a list of the same of the best ones.")
        .def_property_readonly("queue_ms", [](const RequestResult& self) { return self.timings.queue_ms; })
        .def_property_readonly("prefill_ms",
                               [](const RequestResult& self) { return self.timings.prefill_ms; })
        .def_property_readonly("ttft_ms", [](const RequestResult& self) { return self.timings.ttft_ms; })
        .def_property_readonly("decode_ms", [](const RequestResult& self) { return self.timings.decode_ms; });

    py::class_<Mailbox, std::shared_ptr<Mailbox>>(
        module, "Mailbox",
        "Tells an event loop, through a file descriptor, which requests have something new.")
        .def(py::init<>())
        .def("fileno", &Mailbox::fileno)
        .def("take", &Mailbox::take, "The tags posted since the last call.");

    py::class_<PyRequest>(module, "Request",
                          "A submitted request. Safe to use from any thread; dropping it cancels it.")
        .def(
            "cancel", [](PyRequest& self) { self.request->cancel(); }, "Ends it at the next step.")
        .def(
            "wait",
            [](PyRequest& self) {
                const auto request = self.request;
                wait_interruptibly([&](auto slice) { return request->wait(slice); },
                                   [&] { request->cancel(); });
                return request->result();
            },
            "Waits for the end and returns the RequestResult. Ctrl-C cancels the request.")
        .def(
            "next_text",
            [](PyRequest& self) -> py::object {
                const auto request = self.request;
                for (;;) {
                    wait_interruptibly([&](auto slice) { return request->wait_text(slice); },
                                       [&] { request->cancel(); });
                    const bool is_done = request->is_done();  // asked first: then the text is all there is
                    const std::string text = request->take_text();
                    if (!text.empty()) {
                        return py::str(text);
                    }
                    if (is_done) {
                        return py::none();
                    }  // else another thread that streams this request was faster
                }
            },
            "Waits for new text and returns it; None at the end. Ctrl-C cancels the request.")
        // notify, take_text and is_done lock with the GIL held, an exception to the rule: the engine thread
        // has the mutex for as long as it copies some text, and never waits for the GIL with it (a call took
        // 0.13 us beside a request that ran, 99.9 % of them under 0.5), while taking the GIL again can last a
        // switch interval: 5 ms.
        .def(
            "notify",
            [](PyRequest& self, std::shared_ptr<Mailbox> mailbox, uint64_t tag, bool wants_text) {
                self.request->notify(std::move(mailbox), tag, wants_text);
            },
            py::arg("mailbox"), py::arg("tag"), py::kw_only(), py::arg("wants_text"),
            "Posts the tag when there is new text, if wanted, or the end.")
        .def(
            "take_text", [](PyRequest& self) { return self.request->take_text(); },
            "Text that came since the last call; does not wait.")
        .def_property_readonly("is_done", [](const PyRequest& self) { return self.request->is_done(); });
}

}  // namespace tea::bindings
