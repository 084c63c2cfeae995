"""The errors of workflows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tea_llm.errors import ConfigError, LlmError

__all__ = ["Problem", "WorkflowError", "WorkflowRunError"]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One problem of a file.

    Attributes:
        line: its line, from 1.
        message: the problem, and the allowed values.
    """

    line: int
    message: str


class WorkflowError(ConfigError):
    """A file is not a valid workflow; reports all its problems at once.

    Attributes:
        source: the file's name.
        problems: sorted by line.
    """

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(f"{source}:{problem.line}: {problem.message}" for problem in self.problems))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.source, self.problems)


class WorkflowRunError(LlmError):
    """A workflow failed while it ran.

    Attributes:
        node: the node that failed; "": none in particular.
        line: the line of the node in its file; 0: none in particular.
    """

    def __init__(self, message: str, node: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.node = node
        self.line = line

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.node, self.line)
