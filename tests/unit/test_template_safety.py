"""Whatever a template does to a message: no character of it is ever scaffold."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.reference_template import render_reference
from support.templates import BOS, EOS, NOW, attempt, chat, compiled, render_both
from tea_llm.chat.template import ChatTemplate
from tea_llm.errors import TemplateError

# What a template may do with a content. Scaffold of these is ASCII; contents have no letter of it.
EXPRESSIONS = [
    "c",
    "c|trim",
    "c.strip('\\n ') + '<|b|>'",
    "'<|a|>' + c",
    "c + '<|b|>' + c|upper",
    "'<|a|>' ~ c ~ 1 ~ none ~ d",
    "c|tojson",
    "{'k': c, 'l': ['<|a|>', c]}|tojson(indent=2)",
    "c|upper|lower|string",
    "c|title",
    "c|capitalize",
    "c[1:]",
    "c[::-1]",
    "c[0] ~ '<|a|>'[1]",
    "('<|a|>' + c)[2:-1]",
    "c|replace('\\u0565', '<|a|>')",
    "c.replace('<', '<|a|>')",
    "'<|a|>'|replace('a', c)",
    "'<|a|>'.replace('a', c, 1)",
    "c.split('|')|join('<|a|>')",
    "c.split('|')|join",
    "c.split('|', 1)[-1]",
    "'-'.join(c.split())",
    "c.join(['<', '>'])",
    "[c, '<|a|>', c]|join(c)",
    "messages|join(', ', attribute='content')",
    "messages|map(attribute='content')|map('trim')|map('upper')|join('<|a|>')",
    "c.partition('|')[0] + c.rpartition('|')[2]",
    "c.splitlines()[0] if c.splitlines() else '<|a|>'",
    "'<|a|>{}<|b|>{x}'.format(c, x=c)",
    "'<|a|>{0[content]}'.format(messages[0])",
    "'{:>9}'.format(c)",
    "'{x}'.format_map({'x': c})",
    "c.format('<|a|>')",
    "(c ~ '{}').format('<|a|>')",
    "'%s<|a|>%s' % (c, '<|b|>')",
    "'%r' % c",
    "'%s <|a|>'|format(c)",
    "c % () if '%' in c else c",
    "c|safe",
    "c|safe + '<|a|>' + c",
    "'<|a|>' + c + (c|tojson|safe)",
    "[c|safe, c]",
    "c|e ~ '<|a|>'",
    "c|escape + c",
    "c|indent(2)",
    "('<|a|>\\n' ~ c)|indent(2, true)",
    "c|wordwrap(3)",
    "c|center(30)",
    "c|truncate(9, true, '<|b|>', 0)",
    "c|default('<|a|>')",
    "nothing|default(c)",
    "c|list",
    "c|list|join",
    "c|first|default('<|a|>') ~ c|last|default('')",
    "c|reverse",
    "c|striptags",
    "c|urlencode",
    "c|length ~ '<|a|>'",
    "[c, '<|a|>']|sort|join",
    "[c, c, '<|a|>']|unique|join",
    "{c: '<|a|>', 'b': c}",
    "{c: '<|a|>'}|items|list",
    "{c: '<|a|>'}.items()|map('join', '-')|join",
    "dict(a=c, **{'b': '<|a|>'}).values()|join",
    "c * 2 ~ 3 * '<|a|>'",
    "'<|a|>' if '<' in c else c",
    "c if c else '<|a|>'",
    "c is string and c == c|string and 'z' not in c",
    "c ~ loop",
    "namespace(x=c).x + '<|a|>'",
    "cycler(c, '<|a|>').next()",
    "joiner(c)()",
    "c|pprint",
    "c|xmlattr if c is mapping else c|attr('upper')()",
    "strftime_now('%d ' + '<|a|>') ~ c",
    "d ~ d|upper",
    "bos_token + c + eos_token",
    "c|string|format",
    "messages[0]",
    "messages|tojson",
    "messages|groupby('role')|list",
    "messages|selectattr('content', 'equalto', c)|map(attribute='content')|first",
    "self",
    "raise_exception",
]
STATEMENTS = [
    "{% set x = '<|a|>' ~ c %}{{ x }}{{ x|trim }}",
    "{% set x %}<|a|>{{ c }}<|b|>{% endset %}{{ x.split(c or '|')|join('-') }}{{ x }}",
    "{% set x | upper %}<|a|>{{ c }}{% endset %}{{ x[1:] }}",
    "{% macro m(x, y='<|a|>') %}{{ y }}{{ x }}{{ caller() if caller else c }}{% endmacro %}{{ m(c) ~ m(c, c)[3:] }}",
    "{% macro m(x) %}{{ x }}{{ caller('<|a|>') }}{% endmacro %}{% call(y) m(c) %}<|b|>{{ c }}{{ y }}{% endcall %}",
    "{% macro m(x) %}{{ varargs|join }}{{ kwargs.z }}{{ x }}{% endmacro %}{{ m('<|a|>', c, z=c) }}",
    "{% filter upper %}<|a|>{{ c }}{% endfilter %}",
    "{% filter replace('a', c) %}<|a|>{% endfilter %}{% filter title %}{{ c }}{% endfilter %}",
    "{% filter trim %}{{ c }}{% endfilter %}<|a|>",
    "{% call c.upper() %}{% endcall %}",
    "{% call c.format() %}<|a|>{% endcall %}",
    "{% call dict(caller=c).get('caller') %}{% endcall %}",
    "{% for x in c %}{{ loop.index }}{{ x }}{{ loop.cycle('<', c) }}{% else %}<|a|>{% endfor %}",
    "{% for x in [c, [c]] recursive %}<|a|>{{ x if x is string else loop(x) }}{% endfor %}",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}{% break %}{% endfor %}",
    "{% set n = namespace(x='') %}{% for m in messages %}{% set n.x = n.x + '<a>' + m.content %}{% endfor %}{{ n.x }}",
    "{% generation %}<|a|>{{ c }}{% endgeneration %}",
    "{% block x %}<|a|>{{ c }}{% endblock %}{{ self.x() }}",
    "{% with x = c, y = '<|a|>' %}{{ y }}{{ x }}{{ y + x }}{% endwith %}",
    "{% autoescape true %}<|a|>{{ c }}{{ '<|b|>' ~ c }}{{ c + '<|b|>'|safe }}{% endautoescape %}",
    "{% autoescape c %}<|a|>{{ c }}{{ '<|b|>' ~ c }}{% set x %}{{ c }}{% endset %}{{ x }}{% endautoescape %}",
    "{% autoescape true %}{% macro m() %}<|a|>{{ c }}{% endmacro %}{{ m() }}{% endautoescape %}",
    "{% raw %}{{ c }}{% endraw %}{{ c }}{# c #}",
    "{% if '<' in c %}{{ c.split('<')[1] }}{% elif c.startswith('|') %}{{ c.lstrip('|') }}{% endif %}",
    "  {%- if c %}  \n  {{- c -}}  \n  {% endif %}  \n<|a|>",
    "{% set a, b = c, '<|a|>' %}{{ b }}{{ a }}{{ [a, b] }}{{ (a, b)|first }}",
    "{{ messages[0].pop('content') }}",
    "{{ c.__class__ }}",
]
SNIPPETS = [f"{{{{ {expression} }}}}" for expression in EXPRESSIONS] + STATEMENTS
PRELUDE = "{% set c = messages[0].content %}{% set d = messages[-1].content %}"
contents = st.text("աեԲ<|>{}%\n \"'&\\", max_size=20)


@pytest.mark.parametrize("snippet", SNIPPETS)
@settings(derandomize=True, max_examples=15, deadline=None)
@given(contents, contents)
def test_whatever_is_done_to_a_content_it_stays_content(snippet: str, first: str, last: str) -> None:
    messages = [{"role": "user", "content": first}, {"role": "user", "content": last}]
    source = PRELUDE + snippet
    ours, theirs = render_both(source, messages)
    if isinstance(theirs, Exception):
        assert isinstance(ours, TemplateError)
        return
    memory = r" at 0x[0-9a-f]+"
    assert isinstance(ours, str), ours
    if not re.search(memory, theirs):
        assert ours == theirs
    for text, is_scaffold in compiled(source).render(messages, now=NOW):
        assert not is_scaffold or not re.search("[\u0531-\u0587]", text)


CONTROL_TEXTS = ["<|im_end|>", "<|im_start|>", "</s>", "[INST]", "<|", "|>", "im_end", "<", "a", " ", "\n", "{{ c }}"]
attacks = st.lists(st.sampled_from([*CONTROL_TEXTS, BOS, "user"]), max_size=6).map("".join)


@pytest.mark.parametrize(
    ("snippet", "scaffold"),
    [
        ("<|im_start|>{{ c }}<|im_end|>", "<|im_start|><|im_end|>"),
        ("{{ '<|im_start|>' + c|trim + '<|im_end|>' }}", "<|im_start|><|im_end|>"),
        ("{{ '<|im_start|>' ~ c|tojson ~ c|upper ~ '</s>' }}", "<|im_start|></s>"),
        ("{{ ('<|im_start|>' ~ c)[12:] ~ '</s>' }}", "</s>"),
        ("{{ ('<|im_start|>' + c).replace('<|im_start|>' + c, c) }}", ""),
        ("{{ ('</s>' + c + '</s>')[4:-4] }}", ""),
        ("{% set x %}[INST]{{ c }}{% endset %}{{ x[3:] }}{{ x|upper|lower }}", "ST][inst]"),
        ("{% macro m(x) %}<s>{{ x.strip() }}</s>{% endmacro %}{{ m(c) }}{{ m(c)|length }}", "<s></s>"),
        ("{% filter lower %}<S>{{ c }}{% endfilter %}", "<s>"),
        ("{% call c.strip() %}{% endcall %}", None),
        ("{{ c|list|join('') }}{{ c.split('|')|join('') }}{{ c|safe }}{{ (c|safe) + c }}", ""),
        ("{{ ['<s>', c, '</s>']|join }}{{ (c + 'x').replace('x', '[INST]') }}", "<s></s>[INST]"),
        ("{{ bos_token }}{{ c }}{{ eos_token }}", BOS + EOS),
        ("{{ '%s%s' % ('<s>', c) }}{{ '{}{}'.format(c, '</s>') }}", "<s></s>"),
        ("{% for x in c %}{{ x }}{% endfor %}{% for x in messages %}{{ x }}{% endfor %}", ""),
    ],
)
@settings(derandomize=True, max_examples=25, deadline=None)
@given(attacks)
def test_control_tokens_in_a_content_add_nothing_to_the_scaffold(
    snippet: str, scaffold: str | None, content: str
) -> None:
    try:
        got = compiled(PRELUDE + snippet).render([{"role": "critic", "content": content}])
    except TemplateError:
        assert scaffold is None
    else:
        assert "".join(text for text, is_scaffold in got if is_scaffold) == scaffold


def test_a_text_that_was_rendered_is_content_the_next_time() -> None:
    template = ChatTemplate("<s>{{ messages[0].content }}")
    prompt = template.render_text(chat("user: x"))
    assert prompt == "<s>x"
    assert template.render([{"role": "user", "content": prompt}]) == [("<s>", True), ("<s>x", False)]
    assert type(template.render(chat("user: x"))[0][0]) is str


@settings(derandomize=True, max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([*SNIPPETS, "{{", "}}", "{%", "%}", "{% endif %}", "{% if c %}"]), max_size=5), contents
)
def test_any_mix_gives_a_result_or_a_template_error(pieces: list[str], content: str) -> None:
    source = PRELUDE + "".join(pieces)
    messages = chat(f"user: {content}")
    ours = attempt(lambda: ChatTemplate(source, bos_token=BOS, eos_token=EOS).render_text(messages, now=NOW))
    theirs = attempt(lambda: render_reference(source, messages, now=NOW, bos_token=BOS, eos_token=EOS))
    if isinstance(theirs, Exception):
        assert isinstance(ours, TemplateError)
    elif " at 0x" not in theirs:
        assert ours == theirs
