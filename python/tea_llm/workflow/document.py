"""YAML whose mappings know their lines."""

from __future__ import annotations

from typing import Any

import yaml

from tea_llm.workflow.errors import Problem, WorkflowError

__all__ = ["Map", "read"]


class Map(dict[Any, Any]):
    """A mapping of a file.

    Attributes:
        line: where it begins, from 1.
        lines: where each key stands.
        text_lines: where the first line of each value's text stands.
    """

    def __init__(self, line: int = 1) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[Any, int] = {}
        self.text_lines: dict[Any, int] = {}

    def line_of(self, key: object) -> int:
        """Where a key stands; where there is no such key, the mapping."""
        return self.lines.get(key, self.line)

    def line_of_text(self, key: object) -> int:
        """Where the text of a value begins: below its key, if it is written in a block."""
        return self.text_lines.get(key, self.line)


def read(text: str, source: str) -> Map:
    """The mapping that a file holds.

    Args:
        text: of the file.
        source: its name, for errors.

    Raises:
        WorkflowError: not YAML, a key twice in one mapping, or no mapping.
    """
    loader = _Loader(text)
    try:
        document = loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        words = getattr(error, "problem", None) or str(error)
        raise WorkflowError(source, [Problem(mark.line + 1 if mark else 1, str(words))]) from error
    except RecursionError as error:
        raise WorkflowError(source, [Problem(1, "nested too deep")]) from error
    finally:
        loader.dispose()
    if not isinstance(document, Map):
        raise WorkflowError(source, [Problem(1, "a workflow is a mapping with nodes")])
    return document


class _Loader(yaml.SafeLoader):
    """The safe loader, with lines and without keys that hide others."""

    def construct_map(self, node: yaml.MappingNode) -> Map:
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        seen: set[str] = set()
        for key in own:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands here twice", key.start_mark)
            seen.add(str(key.value))
        self.flatten_mapping(node)
        mapping = Map(node.start_mark.line + 1)
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            try:
                mapping[key] = self.construct_object(value_node, deep=True)
            except TypeError:
                words = "a mapping or a list cannot be a key (is a template unquoted?)"
                raise yaml.constructor.ConstructorError(None, None, words, key_node.start_mark) from None
            mapping.lines[key] = key_node.start_mark.line + 1
            is_block = getattr(value_node, "style", None) in ("|", ">")
            mapping.text_lines[key] = value_node.start_mark.line + 1 + is_block
        return mapping


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_map)
