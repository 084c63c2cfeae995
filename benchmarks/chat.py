"""What telling answers apart costs: `python benchmarks/chat.py`. Shares of a real chat, and a stream that grows."""

from __future__ import annotations

import statistics
import time

from run import cpu, model

import tea_llm
from tea_llm.answers.grammars import AnswerFormats
from tea_llm.answers.reader import AnswerReader, CallIds

MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant. " * 5},
    {"role": "user", "content": "Tell me a story of a fox and a raven."},
]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]
LENGTHS = (250, 500, 1000, 2000)
MS_PER_TOKEN = 8.0  # of the model whose stream is imitated


def main() -> None:
    """Both, as text."""
    print(f"{cpu()}\n")
    with tea_llm.load(model("smollm2"), n_ctx=2048, n_threads=2) as llm:
        chat_shares(llm)
        free_and_constrained(llm)
        stream_curve(llm)


def chat_shares(llm: tea_llm.LocalLlmBackend) -> None:
    """Rendering, encoding and parsing, beside the 100 tokens of an answer."""
    prompt = llm._prompt
    for name, tools in (("no tools", ()), ("tools", TOOLS)):
        whole, parts = [], []
        for seed in range(7):
            begin = time.perf_counter()
            result = llm.chat(MESSAGES, tools=tools, max_tokens=100, ignore_eos=True, seed=seed)
            whole.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            prompt.encode(prompt.render(MESSAGES, tools=tools))
            form = llm._answer_formats.get(tools=tools)
            if form is not None:
                form.parse(result.content, is_cut=True)
            parts.append(time.perf_counter() - begin)
        total, ours = statistics.median(whole), statistics.median(parts)
        print(
            f"chat of 100 tokens, {name}: {1000 * total:.0f} ms; "
            f"rendering, encoding and parsing {1000 * ours:.2f} ms: {100 * ours / total:.2f} %"
        )


def free_and_constrained(llm: tea_llm.LocalLlmBackend) -> None:
    """Generated tokens a second without tools, and under the grammar of an answer that may call."""
    rates: dict[str, list[float]] = {"free": [], "with tools": []}
    for seed in range(9):
        for name, tools in (("free", ()), ("with tools", TOOLS)):
            result = llm.chat(MESSAGES, tools=tools, max_tokens=100, ignore_eos=True, seed=seed)
            assert result.timings is not None
            rates[name].append(result.timings.tokens_per_s)
    free, held = (statistics.median(rate) for rate in rates.values())
    print(f"a token: {free:.1f} a second free, {held:.1f} with tools: {free / held:.3f} times the time\n")


def stream_curve(llm: tea_llm.LocalLlmBackend) -> None:
    """Time that a stream's reader takes, as the answer grows."""
    form = AnswerFormats(llm._prompt._compiled()).get(tools=TOOLS)
    assert form is not None
    print("| streamed tokens | parsing, ms | ms a token | share of the stream |\n|---|---|---|---|")
    for length in LENGTHS:
        reader = AnswerReader(form, 0, CallIds())
        spent = 0.0
        start = time.perf_counter()
        for index in range(length):
            due = start + index * MS_PER_TOKEN / 1000
            while time.perf_counter() < due:
                time.sleep(0.0005)
            begin = time.perf_counter()
            reader.take(" token")
            spent += time.perf_counter() - begin
        share = spent / (length * MS_PER_TOKEN / 1000)
        print(f"| {length} | {1000 * spent:.1f} | {1000 * spent / length:.4f} | {100 * share:.2f} % |")


if __name__ == "__main__":
    main()
