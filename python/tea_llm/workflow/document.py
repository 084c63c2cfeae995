"""Reads YAML into mappings that record line numbers."""

from __future__ import annotations

from typing import Any

import yaml

from tea_llm.workflow.errors import Problem, WorkflowError

__all__ = ["Map", "read"]


class Map(dict[Any, Any]):
    """A mapping from a file. Lines are counted from 1.

    Attributes:
        line: the line where it begins.
        lines: the line of each key.
        text_lines: the line where the text of each value begins.
    """

    def __init__(self, line: int = 1) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[Any, int] = {}
        self.text_lines: dict[Any, int] = {}

    def line_of(self, key: object) -> int:
        """The line of a key; without such a key, that of the mapping."""
        return self.lines.get(key, self.line)

    def line_of_text(self, key: object) -> int:
        """The line where the text of a value begins; for a block, the line below the key."""
        return self.text_lines.get(key, self.line)


def read(text: str, source: str) -> Map:
    """Parses the text of a workflow file.

    Args:
        text: the text of the file.
        source: its name, for errors.

    Raises:
        WorkflowError: the text is not YAML, repeats a key in a mapping, or is not a mapping.
    """
    try:
        document = _document(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))  # of a character
        words = getattr(error, "problem", None) or " ".join(str(error).split())
        raise WorkflowError(source, [Problem(line + 1, str(words))]) from error
    except RecursionError as error:
        raise WorkflowError(source, [Problem(1, "the YAML is nested too deeply")]) from error
    if not isinstance(document, Map):
        raise WorkflowError(source, [Problem(1, "a workflow must be a mapping with nodes")])
    return document


def _document(text: str) -> object:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """The safe loader, with line numbers and with errors for repeated keys and for scalars of the wrong form."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, OverflowError):  # PyYAML's own, as for the date 2026-13-45
            kind = node.tag.rpartition(":")[2]
            words = f"{node.value!r} is not a valid {kind}: put it in quotes if it is text"
            raise yaml.constructor.ConstructorError(None, None, words, node.start_mark) from None

    def construct_map(self, node: yaml.MappingNode) -> Map:
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        seen: set[str] = set()
        for key in own:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is repeated", key.start_mark
                )
            seen.add(str(key.value))
        self.flatten_mapping(node)
        mapping = Map(node.start_mark.line + 1)
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            try:
                mapping[key] = self.construct_object(value_node, deep=True)
            except TypeError:
                words = "a mapping or a list cannot be a key: put a template in quotes"
                raise yaml.constructor.ConstructorError(None, None, words, key_node.start_mark) from None
            mapping.lines[key] = key_node.start_mark.line + 1
            is_block = getattr(value_node, "style", None) in ("|", ">")
            mapping.text_lines[key] = value_node.start_mark.line + 1 + is_block
        return mapping


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_map)
