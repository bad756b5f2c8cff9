"""Streams that are open while something befalls the machines under them."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from loadtests.benchmarks.spot_scenarios.stage import DEPLOYMENT, Stage
from loadtests.benchmarks.stream_client import StreamClient, StreamFailed

_LIMIT_S = 300.0
_JOIN_LIMIT_S = 360.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of the streams of a scenario."""

    whole: int
    """That came to their end with all of their tokens."""
    failed: tuple[str, ...]
    """What the others said."""


class Traffic:
    """So many streams at any time, one after the other, until it is left; then what is under way is
    finished. A context manager; `outcome` is there afterwards."""

    def __init__(self, stage: Stage, streams: int, max_tokens: int) -> None:
        home = stage.home
        self._client = StreamClient(home.url, home.key, DEPLOYMENT, _LIMIT_S)
        self._streams = streams
        self._max_tokens = max_tokens
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._whole = 0
        self._failed: list[str] = []
        self.began_s = 0.0

    @property
    def outcome(self) -> Outcome:
        return Outcome(self._whole, tuple(self._failed))

    def __enter__(self) -> Self:
        self.began_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(_JOIN_LIMIT_S)

    def _run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        await asyncio.gather(*(self._repeat(number) for number in range(self._streams)))

    async def _repeat(self, number: int) -> None:
        turn = 0
        while not self._stop.is_set():
            try:
                await self._client.stream([300 + number, 400 + turn, 500], self._max_tokens)
                self._whole += 1
            except StreamFailed as error:
                self._failed.append(str(error).splitlines()[-1][:200])
                await asyncio.sleep(0.5)
            turn += 1
