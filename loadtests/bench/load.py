"""A closed loop of chat requests to one deployment, by Locust."""

from __future__ import annotations

import asyncio
import importlib.util
import tempfile
from dataclasses import dataclass
from pathlib import Path

from control_plane.cli.answer import Answer, ask
from control_plane.cli.api_client import ApiClient, ServerError
from control_plane.cli.credentials import Credentials, find_server
from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.screen import Screen
from infra.extras import install_command
from infra.settings import Settings
from loadtests.ask import Ask
from loadtests.locust_run import RECORDS, CannotRun, run_locust
from loadtests.statistics.log import read_records
from loadtests.statistics.record import Slo
from loadtests.statistics.summary import Summary, summarise
from loadtests.traffic.schedule import Arrivals
from loadtests.traffic.target import ForbiddenTarget, check_target

_LAST_WORDS_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Load:
    deployment: str
    streams: int
    seconds: int
    prompt_tokens: int
    output_tokens: int
    allow_remote: bool


async def measure(
    load: Load, slo_ttft_ms: float | None, slo_tpot_ms: float | None, screen: Screen
) -> Summary:
    """Of all requests; a limit that is None is the deployment's own.

    Raises:
        CommandError: the deployment does not answer, or Locust cannot run.
    """
    if importlib.util.find_spec("locust") is None:
        raise CommandError(f"Locust is missing; get it with: {install_command('load')}")
    server = find_server(Settings())
    try:
        check_target(server.url, allow_remote=load.allow_remote)
    except ForbiddenTarget as error:
        raise CommandError(str(error), ExitCode.USAGE) from error
    async with ApiClient(server) as client:
        own = await _slo_of(client, load.deployment)
        await _warm_up(client, load, screen)
    slo = Slo(
        own.ttft_ms if slo_ttft_ms is None else slo_ttft_ms,
        own.tpot_ms if slo_tpot_ms is None else slo_tpot_ms,
    )
    screen.note(f"{load.streams} streams for {load.seconds} s")
    return await asyncio.to_thread(_run, load, slo, server)


async def _slo_of(client: ApiClient, deployment: str) -> Slo:
    """No limits where the key, or the server, tells nothing of deployments."""
    try:
        found = await client.get(f"/deployments/{deployment}")
    except ServerError as error:
        if error.code not in (ExitCode.REFUSED, ExitCode.NOT_FOUND):
            raise
        return Slo()
    limits = found["spec"]["slo"]
    return Slo(float(limits["ttft_ms"] or 0), float(limits["tpot_ms"] or 0))


async def _warm_up(client: ApiClient, load: Load, screen: Screen) -> None:
    answer = Answer()
    question = [{"role": "user", "content": "Say yes."}]
    options = {"max_tokens": 2}
    async for _ in ask(client, load.deployment, question, options, answer, screen.note):
        continue
    screen.note(f"{load.deployment} answers (first token after {answer.first_token_s:.2f} s)")


def _run(load: Load, slo: Slo, server: Credentials) -> Summary:
    with tempfile.TemporaryDirectory(prefix="tamer-bench-") as folder:
        asked = Ask(
            url=server.url,
            key=server.key,
            model=load.deployment,
            users=load.streams,
            run_time_s=load.seconds,
            report=Path(folder),
            arrivals=Arrivals.CLOSED.value,
            slo=slo,
            allow_remote=load.allow_remote,
            passed_on=_options(load),
        )
        output = Path(folder) / "locust.log"
        with output.open("wb") as stream:
            try:
                run_locust(asked, stream)
            except CannotRun as error:
                raise CommandError(str(error)) from error
        records = asked.report / RECORDS
        if not records.exists():
            said = output.read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace")
            raise CommandError(f"locust ended before it sent anything: {said}")
        return summarise(read_records(records), slo)


def _options(load: Load) -> tuple[str, ...]:
    return (
        *("--mix", "chat=1"),
        *("--prompt-tokens", str(load.prompt_tokens)),
        *("--output-tokens", str(load.output_tokens)),
    )
