"""The supervisor: starts together, keeps alive, stops in order, leaves nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from control_plane.cli.up.supervisor import Program, StartFailed, Supervisor
from tests.fixtures.processes import alive
from tests.fixtures.waiting import wait_until

TELL = "trap 'echo stopped >> {name}.ended; exit 0' TERM; touch {name}.up; sleep 600 & wait"
STUBBORN = "trap '' TERM; touch {name}.up; while true; do sleep 600; done"


class Bench:
    """Makes programs whose life shows in files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.supervisor = Supervisor(self.said.append)

    def program(self, name: str, script: str, stop_limit_s: float = 5.0) -> Program:
        async def ready() -> bool:
            return (self.folder / f"{name}.up").exists()

        command = ["sh", "-c", f"cd {self.folder}; echo $$ >> {name}.pids; {script}"]
        return Program(
            name,
            [each.replace("{name}", name) for each in command],
            dict(os.environ),
            self.folder / f"{name}.log",
            ready,
            start_limit_s=10.0,
            stop_limit_s=stop_limit_s,
        )

    def pids(self, name: str) -> list[int]:
        path = self.folder / f"{name}.pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    async def until(self, look: Callable[[], bool], limit_s: float = 10.0) -> None:
        await wait_until(look, f"as expected; the supervisor said {self.said}", limit_s)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.supervisor.kill()
    await bench.supervisor.stop([])


async def test_start_returns_when_all_are_ready(bench: Bench) -> None:
    await bench.supervisor.start([bench.program("one", TELL), bench.program("two", TELL)])
    assert (bench.folder / "one.up").exists()
    assert (bench.folder / "two.up").exists()
    bench.supervisor.check()


async def test_programs_start_at_the_same_time(bench: Bench) -> None:
    """Each waits for the other: one after the other they would never be ready."""
    meet = "touch {{name}}.here; while [ ! -e {other}.here ]; do sleep 0.02; done; " + TELL
    one = bench.program("one", meet.replace("{other}", "two").replace("{{name}}", "one"))
    two = bench.program("two", meet.replace("{other}", "one").replace("{{name}}", "two"))
    await bench.supervisor.start([one, two])


async def test_a_program_that_ends_at_its_start_fails_with_its_last_words(bench: Bench) -> None:
    with pytest.raises(StartFailed, match=r"bad ended at its start, exit code 3: no more cheese"):
        await bench.supervisor.start(
            [bench.program("good", TELL), bench.program("bad", "echo no more cheese >&2; exit 3")]
        )


async def test_the_last_words_of_a_structured_log_are_its_sentence_uncut(bench: Bench) -> None:
    sentence = "the Redis evicts keys " * 30 + "so set noeviction"
    line = json.dumps({"process": "serve", "event": sentence, "error": "OOM", "level": "error"})
    (bench.folder / "line").write_text(line)
    with pytest.raises(StartFailed) as failed:
        await bench.supervisor.start([bench.program("bad", "cat line >&2; exit 3")])
    assert f"bad ended at its start, exit code 3: {sentence}: OOM (log:" in str(failed.value)


async def test_a_program_that_cannot_be_run_is_named(bench: Bench, tmp_path: Path) -> None:
    program = Program("ghost", [str(tmp_path / "ghost")], {}, tmp_path / "ghost.log")
    with pytest.raises(StartFailed, match="cannot start ghost"):
        await bench.supervisor.start([program])


async def test_a_program_that_is_never_ready_is_given_up(bench: Bench, tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    program = Program(
        "slow", ["sleep", "600"], dict(os.environ), tmp_path / "slow.log", never, start_limit_s=0.2
    )
    with pytest.raises(StartFailed, match="slow was not ready"):
        await bench.supervisor.start([program])


async def test_a_dead_program_is_started_again_and_that_is_said(bench: Bench) -> None:
    await bench.supervisor.start([bench.program("one", TELL)])
    bench.supervisor.keep_alive()
    for life in (1, 2):
        os.kill(bench.pids("one")[-1], signal.SIGKILL)
        await bench.until(lambda life=life: len(bench.pids("one")) == life + 1)
    assert sum("one ended, killed by SIGKILL" in each for each in bench.said) == 2


async def test_the_pause_before_a_new_start_grows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    real_sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def noted_sleep(delay_s: float) -> None:
        pauses.append(delay_s)
        await real_sleep(min(delay_s, 0.01))

    await bench.supervisor.start([bench.program("one", "touch one.up; sleep 0.3; exit 1")])
    monkeypatch.setattr(asyncio, "sleep", noted_sleep)
    bench.supervisor.keep_alive()
    await bench.until(lambda: len([each for each in pauses if each >= 0.2]) >= 3)
    assert [each for each in pauses if each >= 0.2][:3] == [0.2, 0.4, 0.8]


async def test_programs_stop_in_the_order_asked_for(bench: Bench) -> None:
    last = TELL.replace("echo stopped", "ls *.ended")
    await bench.supervisor.start(
        [bench.program("one", TELL), bench.program("two", TELL), bench.program("three", last)]
    )
    bench.supervisor.keep_alive()
    await bench.supervisor.stop([("one", "two"), ("three",)])
    assert (bench.folder / "three.ended").read_text().split()[:2] == ["one.ended", "two.ended"]
    assert not any(alive(pid) for name in ("one", "two", "three") for pid in bench.pids(name))
    assert bench.said == []


async def test_a_program_that_will_not_stop_is_killed(bench: Bench) -> None:
    await bench.supervisor.start([bench.program("one", STUBBORN, stop_limit_s=0.2)])
    await bench.supervisor.stop([])
    assert not alive(bench.pids("one")[0])


async def test_kill_ends_a_stop_under_way(bench: Bench) -> None:
    await bench.supervisor.start([bench.program("one", STUBBORN, stop_limit_s=600.0)])
    stopping = asyncio.create_task(bench.supervisor.stop([("one",)]))
    await asyncio.sleep(0)
    bench.supervisor.kill()
    await asyncio.wait_for(stopping, 5)
    assert not alive(bench.pids("one")[0])


async def test_a_program_between_two_lives_is_not_started_once_stopped(bench: Bench) -> None:
    await bench.supervisor.start([bench.program("one", TELL)])
    bench.supervisor.keep_alive()
    os.kill(bench.pids("one")[0], signal.SIGKILL)
    await bench.until(lambda: bool(bench.said))
    await bench.supervisor.stop([])
    lives = len(bench.pids("one"))
    assert not any(alive(pid) for pid in bench.pids("one"))
    keepers = asyncio.all_tasks() - {asyncio.current_task()}
    await wait_until(lambda: all(task.done() for task in keepers), "nobody is left to start it")
    assert len(bench.pids("one")) == lives


SUPERVISOR = """
import asyncio, os, sys
from pathlib import Path
from control_plane.cli.up.supervisor import Program, Supervisor
async def main():
    folder = Path(sys.argv[1])
    script = f"echo $$ > {folder}/child; sleep 600 & echo $! > {folder}/grandchild; wait"
    supervisor = Supervisor(print)
    await supervisor.start([Program("one", ["sh", "-c", script], dict(os.environ), folder / "log")])
    supervisor.keep_alive()
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SUPERVISOR, str(tmp_path))
    bench = Bench(tmp_path)
    await bench.until(lambda: bool((tmp_path / "grandchild").exists()))
    await bench.until(lambda: bool((tmp_path / "grandchild").read_text().strip()))
    child = int((tmp_path / "child").read_text())
    assert alive(child)
    process.kill()
    await process.wait()
    await bench.until(lambda: not alive(child))
    os.kill(int((tmp_path / "grandchild").read_text()), signal.SIGKILL)  # a shell asks nobody
