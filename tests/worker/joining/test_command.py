"""`tamer worker join` against a control plane that says no, is away, or gives it up."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from starlette.responses import Response

from control_plane.cli.exits import ExitCode
from infra.embedded import EmbeddedValkey
from infra.wire import WIRE_VERSION
from tests.fixtures.waiting import eventually, wait_until
from tests.worker.agent.join_server import JoinServer
from tests.worker.agent.stage import ROOT
from worker.joining.command import Ending

LIMIT_S = 20.0
TYPE = "from worker.joining.command import join; import typer; typer.run(join)"


class Typed:
    """`tamer worker join ...`, as it was typed."""

    def __init__(self, process: asyncio.subprocess.Process, output: Path) -> None:
        self._process = process
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text()

    async def says(self, part: str) -> None:
        await wait_until(lambda: part in self.output or self.code is not None, part, LIMIT_S)
        assert part in self.output

    @property
    def code(self) -> int | None:
        return self._process.returncode

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    async def ended(self) -> int:
        return await asyncio.wait_for(self._process.wait(), LIMIT_S)

    async def clear(self) -> None:
        if self.code is None:
            self._process.kill()
            await self._process.wait()


TypeJoin = Callable[..., Awaitable[Typed]]


@pytest.fixture
async def server(valkey: Redis, valkey_server: EmbeddedValkey) -> AsyncIterator[JoinServer]:
    async with JoinServer(valkey_server.url).running() as server:
        server.instances["token"] = "instance-a"
        yield server


@pytest.fixture
async def typed(tmp_path: Path) -> AsyncIterator[TypeJoin]:
    began: list[Typed] = []

    async def type_join(*arguments: str) -> Typed:
        output = tmp_path / f"output-{len(began)}.txt"
        kept = {name: each for name, each in os.environ.items() if not name.startswith("TAMER_")}
        with output.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", TYPE, *arguments),
                cwd=ROOT,
                env={**kept, "PYTHONPATH": str(ROOT), "TAMER_HOME": str(tmp_path / "home")},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        began.append(Typed(process, output))
        return began[-1]

    yield type_join
    for each in began:
        await each.clear()


def test_its_exit_codes_are_those_of_every_command() -> None:
    for ending in Ending:
        assert ExitCode[ending.name].value == ending.value


@pytest.mark.parametrize("arguments", [(), ("--url", "host:8000"), ("--url", "ftp://host")])
async def test_without_an_address_it_says_what_to_say(
    typed: TypeJoin, arguments: tuple[str, ...]
) -> None:
    join = await typed(*arguments)
    assert await join.ended() == ExitCode.USAGE
    assert "--url http(s)://" in join.output


@pytest.mark.parametrize(
    ("status", "detail"), [(401, "the join token is used"), (409, "older than understood")]
)
async def test_a_refusal_ends_it_in_the_control_planes_words(
    server: JoinServer, typed: TypeJoin, status: int, detail: str
) -> None:
    server.answers = [Response(f'{{"detail": "{detail}"}}', status)]
    join = await typed("--url", server.url, "--token", "token")
    assert await join.ended() == ExitCode.REFUSED
    assert detail in join.output
    assert "Traceback" not in join.output


async def test_a_control_plane_of_another_age_is_refused(
    server: JoinServer, typed: TypeJoin
) -> None:
    server.wire_version = WIRE_VERSION + 2
    join = await typed("--url", server.url, "--token", "token")
    assert await join.ended() == ExitCode.REFUSED
    assert "wire version" in join.output


async def test_it_waits_for_a_control_plane_that_is_away_until_ctrl_c(
    typed: TypeJoin,
) -> None:
    join = await typed("--url", "http://127.0.0.1:9", "--token", "token")
    await join.says("trying again")
    join.interrupt()
    assert await join.ended() == ExitCode.OK


async def test_it_waits_for_a_queue_that_it_cannot_reach_and_says_where_that_is(
    typed: TypeJoin,
) -> None:
    async with JoinServer("redis://127.0.0.1:9/0").running() as server:
        server.instances["token"] = "instance-a"
        join = await typed("--url", server.url, "--token", "token")
        await join.says("127.0.0.1:9 does not answer")
        join.interrupt()
        assert await join.ended() == ExitCode.OK


async def test_it_follows_a_queue_that_has_moved(
    typed: TypeJoin, valkey: Redis, valkey_server: EmbeddedValkey, tmp_path: Path
) -> None:
    old = EmbeddedValkey(tmp_path / "old.sock", data_dir=None)
    old.start()
    async with JoinServer(old.url).running() as server:
        server.instances["token"] = "instance-a"
        join = await typed("--url", server.url, "--token", "token")
        await join.says("joined (instance_id instance-a")
        server.instances["token"] = "instance-a"
        server.redis_url = valkey_server.url
        old.kill()
        await join.says("told of other addresses")

        async def beats() -> bool:
            return bool(await valkey.exists("tamer:instance:instance-a:heartbeat"))

        await eventually(beats)
        join.interrupt()
        assert await join.ended() == ExitCode.OK


async def test_a_silence_makes_it_ask_who_it_is_and_go_on_as_that(
    server: JoinServer, typed: TypeJoin, valkey: Redis
) -> None:
    """Every beat is refused for a while, as by a Redis that is away."""
    join = await typed("--url", server.url, "--token", "token")
    await join.says("joined (instance_id instance-a")
    server.instances["token"] = "instance-b"
    await valkey.execute_command("CLIENT", "PAUSE", 1000, "ALL")
    await join.says("joined (instance_id instance-b")
    assert "given up" in join.output
    assert [each.nonce for each in server.requests[1:]] == [server.requests[0].nonce]

    async def beats() -> bool:
        return bool(await valkey.exists("tamer:instance:instance-b:heartbeat"))

    await eventually(beats)
    join.interrupt()
    assert await join.ended() == ExitCode.OK
    assert join.output.rstrip().endswith("left")
