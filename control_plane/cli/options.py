"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.screen import Format, structured_as

AsJson = Annotated[bool, typer.Option("--json", help="Print data as JSON; the same as -o json.")]
Output = Annotated[
    Format | None, typer.Option("--output", "-o", help="How to print data; a table if left out.")
]
TimeoutS = Annotated[
    float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait.")
]


def offer_formats(app: typer.Typer) -> None:
    """Give every command that takes `--json`, in groups too, `-o json|yaml|table` beside it."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _with_output(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            offer_formats(group.typer_instance)


def _with_output(function: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(function, eval_str=True)
    parameters = signature.parameters
    if "as_json" not in parameters or "output" in parameters:
        return function

    @functools.wraps(function)
    def command(*arguments: Any, as_json: bool, output: Format | None, **options: Any) -> Any:
        if as_json and output not in (None, Format.JSON):
            raise CommandError(f"say --json or -o {output}, not both", ExitCode.USAGE)
        wanted = output or (Format.JSON if as_json else Format.TABLE)
        with structured_as(wanted):
            return function(*arguments, as_json=wanted is not Format.TABLE, **options)

    added = inspect.Parameter(
        "output", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Output
    )
    shown = signature.replace(parameters=[*parameters.values(), added])
    setattr(command, "__signature__", shown)  # noqa: B010 - functions declare no such attribute
    command.__annotations__ = {name: each.annotation for name, each in shown.parameters.items()}
    return command
