"""What can be wrong with a workflow, and in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tea_llm.errors import ConfigError, LlmError

__all__ = ["Problem", "WorkflowError", "WorkflowRunError"]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with a file.

    Attributes:
        line: from 1.
        message: what, and what is allowed.
    """

    line: int
    message: str


class WorkflowError(ConfigError):
    """A file that is no workflow; every problem at once.

    Attributes:
        source: the file's name.
        problems: by line.
    """

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(f"{source}:{problem.line}: {problem.message}" for problem in self.problems))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.source, self.problems)


class WorkflowRunError(LlmError):
    """A workflow that failed while it ran.

    Attributes:
        node: where; "" outside of all.
        line: of the node in its file; 0 outside of all.
    """

    def __init__(self, message: str, node: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.node = node
        self.line = line

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.node, self.line)
