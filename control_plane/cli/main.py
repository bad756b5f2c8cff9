"""The `tamer` command: its groups, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, cast

import typer
from pydantic import ValidationError

from control_plane.cli import (
    audit,
    budget,
    chat,
    configure,
    cost,
    dead_letters,
    deploy,
    diff,
    down,
    explain,
    keys,
    logs,
    models,
    rollout,
    scale,
    status,
    watch,
    worker,
)
from control_plane.cli.doctor.command import doctor
from control_plane.cli.exits import EXIT_CODES, CommandError, ExitCode
from control_plane.cli.options import offer_formats
from control_plane.cli.screen import Screen
from control_plane.cli.up import command as up
from infra.build import build_name
from infra.process_settings import wrong_setting
from infra.settings_file import SettingsFileError

_Misuse = cast(type[Exception], typer.BadParameter.__mro__[2])
"""`ClickException`, from wherever this version of typer keeps it."""
_COMMANDS = "tamer.commands"
"""Entry points of other wings: each loads a `typer.Typer` (a group) or a function (a command);
`GROUP.NAME` is a command of a group that is there."""


def _show_version(wanted: bool) -> None:
    if wanted:
        Screen().line(f"tamer {build_name()}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """Raises:
    CommandError: a command of another wing cannot be loaded.
    """
    app = typer.Typer(
        name="tamer",
        help="Serve open-weight language models on this machine, with an OpenAI-compatible API.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_every_command)
    for function in (up.up, deploy.deploy, status.status, chat.chat, logs.logs):
        app.command()(function)
    app.command()(explain.explain)
    for data_command in (diff.diff, scale.scale, cost.cost, watch.watch, audit.audit, doctor):
        app.command()(data_command)
    app.add_typer(models.app, name="models")
    app.add_typer(keys.app, name="keys")
    app.add_typer(budget.app, name="budget")
    app.add_typer(rollout.app, name="rollout")
    app.add_typer(dead_letters.app, name="dead-letters")
    app.add_typer(worker.app, name="worker")
    app.command()(down.down)
    app.command()(configure.configure)
    for entry_point in sorted(entry_points(group=_COMMANDS), key=lambda each: each.name):
        _add(app, entry_point)
    offer_formats(app)
    return app


def _every_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """What may be said before any command; typer calls it."""


def _add(app: typer.Typer, entry_point: EntryPoint) -> None:
    try:
        found = entry_point.load()
    except ImportError as error:
        Screen().note(f"tamer {entry_point.name} is left out: {error}")
        return
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=entry_point.name)
    else:
        *group, name = entry_point.name.split(".")
        _group(app, group).command(name)(found)


def _group(app: typer.Typer, path: list[str]) -> typer.Typer:
    """The group of that name; the application itself for no name."""
    for each in app.registered_groups:
        if path == [each.name] and each.typer_instance is not None:
            return each.typer_instance
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code. Errors are one line on stderr."""
    try:
        command = typer.main.get_command(build_app())
        ended = command.main(list(arguments), prog_name="tamer", standalone_mode=False)
        return ended if isinstance(ended, int) else ExitCode.OK
    except CommandError as error:
        return _fail(str(error), error.code)
    except _Misuse as error:
        return _misused(error)
    except SettingsFileError as error:
        return _fail(str(error), ExitCode.USAGE)
    except ValidationError as error:
        return _fail(wrong_setting(error), ExitCode.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return ExitCode.OK


def _fail(message: str, code: int) -> int:
    Screen().note(f"tamer: {message}")
    return code


def _misused(error: Any) -> int:
    """A wrong option or argument, in one line; a group without a command shows its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return ExitCode.USAGE
    command = error.ctx.command_path if getattr(error, "ctx", None) else "tamer"
    said = error.format_message().rstrip(".")
    return _fail(f"{said[:1].lower()}{said[1:]} (see '{command} --help')", ExitCode.USAGE)


def _silence_stdout() -> None:
    """The reader has gone (`tamer logs | head`): nothing more can be said to it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    sys.exit(run(sys.argv[1:]))
