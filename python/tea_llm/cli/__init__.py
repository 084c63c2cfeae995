"""The ``tea-llm`` command: one module per subcommand, one place that reports errors."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tea_llm.errors import LlmError

if TYPE_CHECKING:
    import typer

__all__ = ["build_app", "main"]


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status.

    Args:
        args: the words after ``tea-llm``; None: those of this process.

    Returns:
        0; 1 after an error, which stands on stderr; 2 for words that make no command; 130 after Ctrl-C.
    """
    if any(importlib.util.find_spec(name) is None for name in ("typer", "rich")):
        print('tea-llm: error: the command line needs more packages: pip install "tea-llm[cli]"', file=sys.stderr)
        return 1
    handler = _log_to_stderr()
    stdout = sys.stdout  # typer puts another in its place when a pipe breaks
    try:
        status = _run(args)
        stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        # The reader went away, as `| head -1` does. What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        status = 1
    except (LlmError, ValueError, OSError) as error:
        print(f"tea-llm: error: {error}", file=sys.stderr)
        status = 1
    finally:
        logging.getLogger("tea_llm").removeHandler(handler)
    return status


def build_app() -> typer.Typer:
    """The typer application with all commands."""
    import typer

    from tea_llm._version import __version__
    from tea_llm.cli.bench import bench
    from tea_llm.cli.chat import chat
    from tea_llm.cli.doctor import doctor
    from tea_llm.cli.embed import embed
    from tea_llm.cli.inspect import inspect
    from tea_llm.cli.models import models
    from tea_llm.cli.pull import pull
    from tea_llm.cli.quantize import quantize
    from tea_llm.cli.rm import rm
    from tea_llm.cli.run import run
    from tea_llm.cli.validate import validate

    app = typer.Typer(
        name="tea-llm",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    def print_version(wanted: bool) -> None:
        if wanted:
            print(f"tea-llm {__version__}")
            raise typer.Exit

    @app.callback()
    def tea_llm(
        version: bool = typer.Option(
            False, "--version", callback=print_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        """A local LLM on this machine's own processor."""

    app.command()(chat)
    app.command()(embed)
    app.command()(pull)
    app.command()(models)
    app.command()(rm)
    app.command()(inspect)
    app.command()(quantize)
    app.command()(bench)
    app.command()(run)
    app.command()(validate)
    app.command()(doctor)
    return app


def _run(args: Sequence[str] | None) -> int:
    try:
        build_app()(args=None if args is None else list(args), prog_name="tea-llm")
    except SystemExit as exit_:  # typer ends with it, whatever the outcome
        return exit_.code if isinstance(exit_.code, int) else 0
    return 0


def _log_to_stderr() -> logging.Handler:
    """Shows the package's warnings as the command's own; of llama.cpp's lines only errors."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("tea-llm: %(message)s"))
    handler.addFilter(lambda record: record.name != "tea_llm.llama" or record.levelno >= logging.ERROR)
    logging.getLogger("tea_llm").addHandler(handler)
    return handler
