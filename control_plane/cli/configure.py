"""`tamer configure`: settings that Terraform, or whoever made the machines, has found out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.screen import Screen
from control_plane.cli.settings_text import with_settings
from infra.process_settings import wrong_setting
from infra.settings import Settings

_OUTPUT = "tamer_environment"
_PREFIX = "TAMER_"


def configure(
    file: Annotated[str, typer.Argument(help="A JSON file; - reads the standard input.")] = "-",
) -> None:
    """Take settings into tamer.toml: what 'terraform output -json' prints, or an object of TAMER_*
    variables. What the file says otherwise stays; a setting that it has already is replaced."""
    screen = Screen()
    found = _settings(_read(file))
    home = Settings().home
    target = home / "tamer.toml"
    before = target.read_text(encoding="utf-8") if target.exists() else ""
    after = with_settings(before, found)
    _try_out(found)
    if after == before:
        screen.note(f"{target} says all of it already")
        return
    _write(target, after)
    for name, value in sorted(found.items()):
        screen.line(f"{name} = {json.dumps(value)}")
    screen.note(f"written to {target}; a Tamer that runs takes it at its next start")


def _read(file: str) -> Mapping[str, Any]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise CommandError(
            f"{file}: {error}; type: terraform output -json | tamer configure", ExitCode.USAGE
        ) from error
    if not isinstance(found, dict):
        raise CommandError(f"{file}: it is no JSON object", ExitCode.USAGE)
    return found


def _settings(found: Mapping[str, Any]) -> dict[str, str]:
    """Values by the name of a setting. Raises CommandError: there is none, or one is unknown."""
    output = found.get(_OUTPUT, found)
    variables = output.get("value", output) if isinstance(output, dict) else {}
    if not isinstance(variables, dict) or not variables:
        raise CommandError(f"no output {_OUTPUT}, and no TAMER_* variables", ExitCode.USAGE)
    settings = {}
    for variable, value in variables.items():
        name = variable.removeprefix(_PREFIX).lower()
        if not variable.startswith(_PREFIX) or name not in Settings.model_fields:
            raise CommandError(
                f"{variable} is no setting: docs/configuration.md lists them", ExitCode.USAGE
            )
        if not isinstance(value, str):
            raise CommandError(f"{variable} is no text: write it as a variable", ExitCode.USAGE)
        settings[name] = value
    return settings


def _try_out(settings: Mapping[str, str]) -> None:
    """A value that no process would start with is not written. Raises CommandError."""
    try:
        Settings(**settings)  # type: ignore[arg-type]
    except ValidationError as error:
        raise CommandError(wrong_setting(error), ExitCode.USAGE) from error


def _write(target: Path, text: str) -> None:
    """Whole or not at all; for its owner alone, since settings may hold passwords."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.chmod(0o600)
        draft.replace(target)
    except OSError as error:
        raise CommandError(f"{target} cannot be written: {error}") from error
