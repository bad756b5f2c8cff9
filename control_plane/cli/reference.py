"""`docs/cli.md`: every command with its options, and how commands end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from control_plane.cli.exits import MEANINGS
from control_plane.cli.main import build_app

_INTRODUCTION = """\
# The `tamer` command

Written by `make docs` from the commands themselves; `tamer COMMAND --help` tells more.

| command | what it does | arguments and options |
|---|---|---|
"""
_EVERYWHERE = ("--json", "--output")
_SHARED = """
Data goes to stdout, everything else to stderr. `-o json`, `-o yaml` and `-o table` say how data is
printed, `--json` is the same as `-o json`; a stream (`watch`, `logs -f`) is one JSON object per
line. `NO_COLOR` is obeyed. The server and the key are those that `tamer up` wrote into
`TAMER_HOME`, unless `TAMER_URL` and `TAMER_API_KEY` say otherwise.

## Exit codes

| code | meaning |
|---|---|
"""
_COMPLETION = """
`tamer diff` ends with 1 where something differs, `tamer audit` where a queue does not add up,
`tamer doctor` where a check fails.

## Completion

`tamer --install-completion` adds it to the shell that it is typed in (bash, zsh, fish, PowerShell);
`tamer --show-completion` prints what it would add.
"""


def document() -> str:
    rows = [f"| `tamer {name}` | {said} | {taken} |\n" for name, said, taken in commands()]
    codes = [f"| {code.value} | {meaning} |\n" for code, meaning in MEANINGS.items()]
    return "".join([_INTRODUCTION, *rows, _SHARED, *codes, _COMPLETION])


def commands() -> Iterator[tuple[str, str, str]]:
    """Every command, with those of groups as "models list", the first paragraph of its help, and
    what it takes."""
    yield from _below(typer.main.get_command(build_app()), "")


def _below(command: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """`command` is a click command, from wherever this version of typer keeps those."""
    inner = getattr(command, "commands", None)
    if inner is None:
        said = str(command.help or "").strip().partition("\n\n")[0]
        yield path, " ".join(said.split()), _taken(command)
        return
    for name, each in inner.items():
        yield from _below(each, f"{path} {name}".strip())


def _taken(command: Any) -> str:
    """Arguments as its help names them, options by their long names."""
    told = []
    for each in command.params:
        name = max((*each.opts, *each.secondary_opts), key=len)
        told.append(name if name.startswith("-") else each.metavar or name.upper())
    return ", ".join(f"`{each}`" for each in told if each not in _EVERYWHERE)


if __name__ == "__main__":
    sys.stdout.write(document())
