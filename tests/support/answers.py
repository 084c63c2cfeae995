"""What models of many families write: the same answers in the form that each was trained on."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any, NamedTuple

from support.templates import source_of
from tea_llm.answers.format import AnswerFormat
from tea_llm.answers.grammars import AnswerFormats
from tea_llm.answers.parts import Parts
from tea_llm.answers.reader import AnswerReader, CallIds
from tea_llm.chat.template import ChatTemplate

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city", "days"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "The sum of two numbers.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
                "required": ["a", "b"],
            },
        },
    },
]
WEATHER = ("get_weather", {"city": "Köln", "days": 3})
ADD = ("add", {"a": 1, "b": 2.5})
WEATHER_JSON, ADD_JSON = json.dumps(WEATHER[1], ensure_ascii=False), json.dumps(ADD[1])


class Written(NamedTuple):
    """A template of llama.cpp's, an answer in its form, and what is in it."""

    template: str
    text: str
    content: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()


_HERMES_WEATHER = '<tool_call>\n{"name": "get_weather", "arguments": ' + WEATHER_JSON + "}\n</tool_call>"
_HERMES_ADD = '<tool_call>\n{"name": "add", "arguments": ' + ADD_JSON + "}\n</tool_call>"
_HERMES = f"{_HERMES_WEATHER}\n{_HERMES_ADD}"
_CODER = (
    "<tool_call>\n<function=get_weather>\n<parameter=city>\nKöln\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
    "</function>\n</tool_call>"
)
_CODER_ADD = (
    "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n2.5\n</parameter>\n"
    "</function>\n</tool_call>"
)
_GLM = (
    "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Köln</arg_value>\n<arg_key>days</arg_key>\n"
    "<arg_value>3</arg_value>\n</tool_call>"
)
_GLM_47 = _GLM.replace("\n", "")
_KIMI = (
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
    f"{WEATHER_JSON}<|tool_call_end|><|tool_call_begin|>functions.add:1<|tool_call_argument_begin|>{ADD_JSON}"
    "<|tool_call_end|><|tool_calls_section_end|>"
)
_GEMMA_4 = (
    '<|tool_call>call:get_weather{city:<|"|>Köln<|"|>,days:3}<tool_call|><|tool_call>call:add{a:1,b:2.5}<tool_call|>'
)
_MINIMAX = (
    '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Köln</parameter>\n'
    '<parameter name="days">3</parameter>\n</invoke>\n</minimax:tool_call>'
)
_SEED = (
    "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Köln</parameter>\n<parameter=days>3</parameter>\n"
    "</function>\n</seed:tool_call>"
)
_DSML = (
    '<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n'
    '<｜DSML｜parameter name="city" string="true">Köln</｜DSML｜parameter>\n'
    '<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>\n'
    "</｜DSML｜invoke>\n</｜DSML｜function_calls>"
)
_HARMONY = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
_BOTH = (WEATHER, ADD)

WRITTEN = [
    Written("Qwen-Qwen2.5-7B-Instruct", "It is hot.", "It is hot."),
    Written("Qwen-Qwen2.5-7B-Instruct", _HERMES, calls=_BOTH),
    Written("Qwen-Qwen2.5-7B-Instruct", f"Let me see.\n{_HERMES_WEATHER}", "Let me see.\n", calls=(WEATHER,)),
    Written("NousResearch-Hermes-3-Llama-3.1-8B-tool_use", _HERMES, calls=_BOTH),
    Written("ibm-granite-granite-4.0", _HERMES, calls=_BOTH),
    Written("Qwen-Qwen3-0.6B", "<think>\nHm.\n</think>\n\nIt is hot.", "It is hot.", "Hm."),
    Written("Qwen-Qwen3-0.6B", f"<think>\nHm.\n</think>\n\n{_HERMES}", "", "Hm.", _BOTH),
    Written("Qwen-QwQ-32B", "Hm.\n</think>\n\nIt is hot.", "It is hot.", "Hm."),
    Written("Qwen-QwQ-32B", f"Hm.\n</think>\n\n{_HERMES}", "", "Hm.", _BOTH),
    Written("Qwen3-Coder", f"{_CODER}\n{_CODER_ADD}", calls=_BOTH),
    Written("Qwen3.5-4B", f"Hm.\n</think>\n\n{_CODER}", "", "Hm.", (WEATHER,)),
    Written("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", f"Hm.\n</think>\n{_CODER}", "", "Hm.", (WEATHER,)),
    Written("meta-llama-Llama-3.1-8B-Instruct", "It is hot.", "It is hot."),
    Written(
        "meta-llama-Llama-3.1-8B-Instruct",
        f'{{"name": "get_weather", "parameters": {WEATHER_JSON}}}',
        calls=(WEATHER,),
    ),
    Written(
        "mistralai-Mistral-Nemo-Instruct-2407",
        f'[TOOL_CALLS][{{"name": "get_weather", "arguments": {WEATHER_JSON}, "id": "123456789"}}]',
        calls=(WEATHER,),
    ),
    Written(
        "mistralai-Ministral-3-14B-Reasoning-2512",
        f"[THINK]Hm.[/THINK][TOOL_CALLS]get_weather[ARGS]{WEATHER_JSON}[TOOL_CALLS]add[ARGS]{ADD_JSON}",
        "",
        "Hm.",
        _BOTH,
    ),
    Written("deepseek-ai-DeepSeek-V3.2", f"Hm.</think>{_DSML}", "", "Hm.", (WEATHER,)),
    Written("openai-gpt-oss-120b", f"{_HARMONY}<|channel|>final<|message|>It is hot.", "It is hot.", "Hm."),
    Written(
        "openai-gpt-oss-120b",
        f"{_HARMONY}<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{WEATHER_JSON}",
        "",
        "Hm.",
        (WEATHER,),
    ),
    Written("google-gemma-4-31B-it", _GEMMA_4, calls=_BOTH),
    Written("google-gemma-4-31B-it", "It is hot.", "It is hot."),
    Written("GLM-4.6", f"\n<think>Hm.</think>\n{_GLM}", "", "Hm.", (WEATHER,)),
    Written("GLM-4.7-Flash", f"Hm.</think>{_GLM_47}", "", "Hm.", (WEATHER,)),
    Written("Kimi-K2-Instruct", _KIMI, calls=_BOTH),
    Written("MiniMax-M2", f"Hm.\n</think>\n\n{_MINIMAX}", "", "Hm.", (WEATHER,)),
    Written("ByteDance-Seed-OSS", _SEED, calls=(WEATHER,)),
    Written("meetkai-functionary-medium-v3.1", f"<function=get_weather>{WEATHER_JSON}</function>", calls=(WEATHER,)),
    Written("meetkai-functionary-medium-v3.2", "all\nIt is hot.", "It is hot."),
    Written("meetkai-functionary-medium-v3.2", f"get_weather\n{WEATHER_JSON}", calls=(WEATHER,)),
    Written(
        "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
        "<|START_THINKING|>Hm.<|END_THINKING|><|START_ACTION|>[\n"
        f'    {{"tool_call_id": "0", "tool_name": "get_weather", "parameters": {WEATHER_JSON}}}\n]<|END_ACTION|>',
        "",
        "Hm.",
        (WEATHER,),
    ),
    Written(
        "Apertus-8B-Instruct",
        f'<|tools_prefix|>[{{"get_weather": {WEATHER_JSON}}}, {{"add": {ADD_JSON}}}]<|tools_suffix|>',
        calls=_BOTH,
    ),
    Written(
        "NVIDIA-Nemotron-Nano-v2",
        f'Hm.\n</think>\n\n<TOOLCALL>[{{"name": "get_weather", "arguments": {WEATHER_JSON}}}]</TOOLCALL>',
        "",
        "Hm.",
        (WEATHER,),
    ),
    # No form of its own for calls: ours.
    Written("HuggingFaceTB-SmolLM3-3B", f"<think>\nHm.\n</think>\n{_HERMES}", "", "Hm.", _BOTH),
    Written("google-gemma-2-2b-it", _HERMES, calls=_BOTH),
    Written("google-gemma-2-2b-it", f'{{"name": "add", "arguments": {ADD_JSON}}}', calls=(ADD,)),
    Written("deepseek-ai-DeepSeek-R1-Distill-Llama-8B", f"Hm.\n</think>\n\n{_HERMES}", "", "Hm.", _BOTH),
]


THINKING = {"enable_thinking": True, "thinking": True}  # some templates do so only when told


@cache
def form_of(name: str, *, has_tools: bool = True) -> AnswerFormat | None:
    """The format of answers to a template's prompts, with ``TOOLS`` or without."""
    template = ChatTemplate(source_of(name), bos_token="<s>", eos_token="</s>")
    return AnswerFormats(template).get(tools=TOOLS if has_tools else (), variables=THINKING)


def streamed(form: AnswerFormat, text: str, *, seed: int, is_cut: bool = False) -> Parts:
    """What the pieces of an answer join to when its text comes in random pieces, each of which is parsed."""
    rng = random.Random(seed)
    reader = AnswerReader(form, 0, CallIds())
    chunks, begin = [], 0
    longest = rng.choice((1, 7, 50))
    while begin < len(text):
        end = begin + rng.randint(1, longest)
        reader._rest_until = 0.0  # no rests
        chunks += reader.take(text[begin:end])
        begin = end
    chunks += reader.finish(is_cut=is_cut)
    calls: dict[int, list[str]] = {}
    for delta in (delta for chunk in chunks for delta in chunk.tool_call_deltas):
        known = calls.setdefault(delta.index, [delta.id or "", delta.name or "", ""])
        assert (delta.id is None) == (delta.name is None)
        known[2] += delta.arguments
    return Parts(
        "".join(chunk.text for chunk in chunks),
        "".join(chunk.reasoning for chunk in chunks),
        tuple((call_id, name, arguments) for call_id, name, arguments in calls.values()),
    )
