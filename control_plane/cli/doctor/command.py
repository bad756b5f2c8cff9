"""`tamer doctor`: every check, in the order in which things depend on each other."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import typer
from rich.text import Text

from control_plane.cli.credentials import find_server
from control_plane.cli.doctor.cloud import examine_cloud
from control_plane.cli.doctor.database import examine_database
from control_plane.cli.doctor.finding import Finding, Level
from control_plane.cli.doctor.machine import examine_machine, examine_port
from control_plane.cli.doctor.redis import examine_redis
from control_plane.cli.doctor.server import examine_server
from control_plane.cli.exits import ExitCode
from control_plane.cli.options import AsJson
from control_plane.cli.screen import Screen, printable
from infra.settings import Settings

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


def doctor(as_json: AsJson = False) -> None:
    """Check what commonly goes wrong, and say what to type; exit code 1 where something fails."""
    screen = Screen(as_json)
    found = asyncio.run(_examine(Settings()))
    if as_json:
        screen.json([asdict(each) for each in found])
    else:
        for each in found:
            screen.out.print(_line(each), soft_wrap=True)
    if any(each.level is Level.FAIL for each in found):
        raise typer.Exit(ExitCode.FAILED)


async def _examine(settings: Settings) -> list[Finding]:
    found = list(examine_machine(settings))
    found.append(examine_database(settings))
    found += [each async for each in examine_redis(settings)]
    found += await examine_cloud(settings)
    server = [each async for each in examine_server(settings)]
    reached = any(each.subject == "api" and each.level is Level.OK for each in server)
    ours = reached and find_server(settings).url == settings.api_url
    return [*found, examine_port(settings, ours), *server]


def _line(finding: Finding) -> Text:
    """E.g. "warn  home: others may look into it; type: chmod 700 ~/.tamer"."""
    advice = f"; {finding.advice}" if finding.advice else ""
    line = Text(f"{finding.level:5} ", style=_STYLES[finding.level])
    return line.append(printable(f"{finding.subject}: {finding.said}{advice}"), style="default")
