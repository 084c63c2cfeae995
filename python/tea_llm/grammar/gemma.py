"""JSON values in Gemma 4's call format: strings between marks, keys without marks, no escapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

from tea_llm.errors import GrammarError
from tea_llm.grammar.characters import CharSet, ascii_class, in_text, quoted
from tea_llm.grammar.language import Language, automaton_rules, both
from tea_llm.grammar.rules import Rules
from tea_llm.grammar.texts import without

__all__ = ["GemmaRules"]

_MARK = '<|"|>'


@cache
def _base() -> dict[str, str]:
    text = automaton_rules(without(_MARK), in_text, "text-")
    return {
        **Rules.base,
        "char": "[^<]",
        "string": f"{quoted(_MARK)} text-0 {quoted(_MARK)}",
        "key": f"{in_text(GemmaRules.key_characters)}+",
        "member": 'key ":" space value',
        **text,
    }


class GemmaRules(Rules):
    """Rules of values in Gemma 4's call format."""

    base: ClassVar[Mapping[str, str]] = {}
    any_key: ClassVar[str] = "key"
    key_characters: ClassVar[CharSet] = ascii_class("WORD")
    has_escapes: ClassVar[bool] = False
    has_empty_key: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._rules.update(_base())

    def automaton(self, language: Language, prefix: str) -> dict[str, str]:
        return automaton_rules(both([language, without(_MARK)]), in_text, prefix)

    def in_quotes(self, inside: str) -> str:
        return f"{quoted(_MARK)} {inside} {quoted(_MARK)}"

    def constant(self, value: Any) -> str:
        if isinstance(value, str):
            if _MARK in value:
                raise GrammarError(f"Gemma 4 cannot write {value!r} in a call: remove {_MARK!r} from it")
            return f"{_MARK}{value}{_MARK}"
        if isinstance(value, Mapping):
            return f"{{{','.join(f'{self.key(name)}:{self.constant(one)}' for name, one in value.items())}}}"
        if isinstance(value, list):
            return f"[{','.join(map(self.constant, value))}]"
        return json.dumps(value)

    def key(self, name: str) -> str:
        if not name or set(name) & set(':}{,"') or name != name.strip():
            raise GrammarError(f"Gemma 4 cannot write the key {name!r} in a call: use letters, digits and _")
        return name

    def other_key(self, inside: str) -> str:
        return inside
