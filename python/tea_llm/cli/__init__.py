"""The ``tea-llm`` command: one module per subcommand, one place that reports errors."""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from tea_llm.cli._terminal import complain, log_to_stderr, say, usable_streams
from tea_llm.errors import LlmError
from tea_llm.paths import missing_models

if TYPE_CHECKING:
    import typer

__all__ = ["build_app", "main"]


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status.

    Args:
        args: the arguments after ``tea-llm``; None: those of this process.

    Returns:
        0; 1 after an error, which is printed to stderr; 2 for a usage error; 130 after Ctrl-C.
    """
    with usable_streams():
        if any(importlib.util.find_spec(name) is None for name in ("typer", "rich")):
            complain('tea-llm: error: the command line needs additional packages: pip install "tea-llm[cli]"')
            return 1
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # characters not in its encoding
        handler = log_to_stderr()
        stdout = sys.stdout  # typer replaces it when a pipe breaks
        try:
            return _run(args, stdout)
        finally:
            logging.getLogger("tea_llm").removeHandler(handler)


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
            say(f"tea-llm {__version__}")
            raise typer.Exit

    @app.callback()
    def tea_llm(
        _version: bool = typer.Option(
            False, "--version", callback=print_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        """A local LLM on this machine's own processor."""
        for line in missing_models():
            logging.getLogger("tea_llm").warning("%s", line)

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


def _run(args: Sequence[str] | None, stdout: TextIO) -> int:
    try:
        status = _run_command(args)
        stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader has closed the pipe, as `| head -1` does
        _give_up(stdout)
        return 1
    except (LlmError, ValueError, OSError) as error:
        complain(f"tea-llm: error: {error}")
        _give_up(stdout)
        return 1
    return status


def _run_command(args: Sequence[str] | None) -> int:
    import typer

    usage_error = typer.BadParameter.__base__  # click's, or typer's copy of it: both have `show` and `exit_code`
    try:
        status = build_app()(args=None if args is None else list(args), prog_name="tea-llm", standalone_mode=False)
    except typer.Abort:
        complain("Aborted!")
        return 1
    except SystemExit as exit_:  # after a broken pipe
        return exit_.code if isinstance(exit_.code, int) else 0
    except Exception as error:
        if usage_error is None or not isinstance(error, usage_error):
            raise
        usage = io.StringIO()
        error.show(usage)  # type: ignore[attr-defined]
        complain(usage.getvalue().rstrip())
        return 2
    return status if isinstance(status, int) else 0


def _give_up(stdout: TextIO) -> None:
    """Drops buffered output that cannot be written, so that it does not fail again when the interpreter exits."""
    try:
        stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
