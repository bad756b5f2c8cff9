"""The engine process: `python -m worker.engine.process --engine NAME --threads N --fd N`.

The last is its end of a socket pair. It reads an `EngineSpec`, builds the engine of that name, says
`Ready`, and then steps for as long as there is work. Its life ends with the socket: a dead agent
leaves an engine that finishes the step it is in, and no more.

With `--standby` it first does what needs no model: imports, and what the engine's module calls
`stand_by`.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points

from infra.tracing.span import now_ns
from infra.wire import Malformed
from worker.engine.base import Engine, EngineError, EngineSpec, SleepingEngine
from worker.engine.channel import Channel, ChannelClosed
from worker.engine.loading import listening
from worker.engine.messages import (
    Asleep,
    Cancel,
    Failed,
    Loading,
    LongStep,
    Ready,
    Shutdown,
    Sleep,
    StandingBy,
    StepDone,
    Submit,
    ToEngine,
    Wake,
)

ENTRY_POINT_GROUP = "tamer.engines"
LONG_STEP_S = 1.0
_LOADING_STEP_BYTES = 16 << 20


class EngineLoop:
    """Takes messages between steps: waits for them when idle, never while there is work."""

    def __init__(self, channel: Channel, engine: Engine) -> None:
        self._channel = channel
        self._engine = engine

    def run(self) -> None:
        """Serve until the agent says `Shutdown` or is gone (`ChannelClosed`)."""
        while self._take_messages():
            if self._engine.expected_step_s() > LONG_STEP_S:
                self._channel.send(LongStep(self._engine.expected_step_s()))
            events = self._engine.step()
            self._channel.send(StepDone(events, self._engine.stats(), now_ns()))

    def _take_messages(self) -> bool:
        """Drain what has arrived; False after `Shutdown`."""
        message = self._channel.poll(ToEngine) if self._busy() else self._channel.receive(ToEngine)
        while message is not None:
            if isinstance(message, Shutdown):
                return False
            self._take(message)
            message = self._channel.poll(ToEngine)
        return True

    def _take(self, message: Submit | Cancel | Sleep | Wake) -> None:
        if isinstance(message, Cancel):
            self._engine.cancel(message.job_id)
            return
        if isinstance(message, Sleep):
            # One that can free nothing just waits.
            if isinstance(self._engine, SleepingEngine):
                self._engine.sleep()
            self._channel.send(Asleep())
            return
        if isinstance(message, Wake):
            if isinstance(self._engine, SleepingEngine):
                self._engine.wake()
            self._channel.send(Ready(self._engine.stats()))
            return
        refusal = self._engine.submit(message.job, message.attempt)
        if refusal is not None:
            self._channel.send(StepDone([refusal], self._engine.stats()))

    def _busy(self) -> bool:
        stats = self._engine.stats()
        return stats.running + stats.waiting > 0


def find_builder(name: str) -> Callable[[EngineSpec], Engine]:
    """What the entry point of that name names; its module is imported.

    Raises:
        EngineError: no installed package brings such an engine.
    """
    builder: Callable[[EngineSpec], Engine] = _entry_point(name).load()
    return builder


def stand_by(name: str) -> None:
    """Do all of a start that needs no model.

    Raises:
        EngineError: as `find_builder`.
    """
    entry_point = _entry_point(name)
    entry_point.load()
    rehearse: Callable[[], None] | None = getattr(sys.modules[entry_point.module], "stand_by", None)
    if rehearse is not None:
        rehearse()


def _entry_point(name: str) -> EntryPoint:
    found = entry_points(group=ENTRY_POINT_GROUP)
    if name not in found.names:
        known = ", ".join(sorted(found.names)) or "none"
        raise EngineError(f"no engine named {name!r} is installed (known: {known})")
    return found[name]


def build_engine(channel: Channel, name: str, spec: EngineSpec) -> Engine:
    """Build the engine, telling the agent how far it is."""
    last = ("", 0)

    def tell(phase: str, done_bytes: int, total_bytes: int) -> None:
        nonlocal last
        moved = done_bytes - last[1] >= _LOADING_STEP_BYTES or done_bytes == total_bytes
        if phase != last[0] or moved:
            channel.send(Loading(phase, done_bytes, total_bytes))
            last = (phase, done_bytes)

    tell("engine", 0, 0)
    builder = find_builder(name)
    tell("model", 0, 0)
    with listening(tell):
        return builder(spec)


def serve(channel: Channel, name: str, standby: bool) -> None:
    """The whole life of the process.

    A reason that the agent should know is sent as `Failed` before it is raised.
    """
    try:
        if standby:
            stand_by(name)
            channel.send(StandingBy())
        spec = channel.receive(EngineSpec)
        engine = build_engine(channel, name, spec)
        try:
            channel.send(Ready(engine.stats()))
            EngineLoop(channel, engine).run()
        finally:
            engine.close()
    except ChannelClosed:
        raise
    except (EngineError, Malformed) as error:
        channel.send(Failed(str(error)))
        raise
    except Exception as error:
        channel.send(Failed(f"{type(error).__name__}: {error}"))
        raise


def _limit_threads(threads: int) -> None:
    """Must come before a numeric library is imported: most read this once, when they load."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    # Threads that spin while they wait cost an engine most of its speed where cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # But a step is hundreds of short products: to wake for each would cost as much as they do. So
    # threads spin for some ten microseconds, which is what lies between two of them.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m worker.engine.process")
    parser.add_argument("--engine", required=True, help="name in the entry-point group")
    parser.add_argument("--fd", required=True, type=int, help="this process's end of the socket")
    parser.add_argument("--threads", default=1, type=int, help="of numeric libraries")
    parser.add_argument("--standby", action="store_true", help="do first what needs no model")
    options = parser.parse_args(arguments)
    # Ctrl-C reaches the whole foreground group, but when this process ends is the agent's choice.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=options.fd))
    _limit_threads(options.threads)
    try:
        serve(channel, options.engine, options.standby)
    except ChannelClosed:
        return 0
    except EngineError:
        return 1
    finally:
        channel.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
