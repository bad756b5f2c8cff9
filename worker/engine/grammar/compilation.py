"""Grammars that are being compiled while the batch runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass

from infra.grammar import GrammarRefused, shortened
from infra.wire import JobSpec
from worker.engine.grammar.compiler import GrammarCompiler
from worker.engine.grammar.lane import Lane
from worker.engine.grammar.matcher import Matcher

LIMIT_S = 30.0
"""From a job's arrival. A gateway refuses what takes it ten, so this is for a machine that is much
slower, or for who is asked past a gateway."""
MAX_WAITING = 1024
"""Grammars that are not ready; far more than a replica leases jobs ahead."""
MAX_STUCK = 2
"""Threads that are left behind with a grammar that takes too long: they cannot be ended."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A job whose grammar is ready, or cannot be."""

    job: JobSpec
    attempt: int
    matcher: Matcher | None
    refusal: str = ""


@dataclass(slots=True)
class _Waiting:
    job: JobSpec
    attempt: int
    deadline_s: float
    future: Future[Matcher]


class Compilations:
    """One thread, in the order of arrival. The library lets go of Python's lock while it compiles,
    so running sequences go on; a job joins them at the first step after its grammar is ready."""

    def __init__(
        self, compiler: GrammarCompiler, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._compiler = compiler
        self._clock = clock
        self._lane = Lane()
        self._stuck: list[Lane] = []
        self._open: dict[str, _Waiting] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def jobs(self) -> list[str]:
        return list(self._open)

    def start(self, job: JobSpec, attempt: int) -> str:
        """Compile the grammar of a job, or say why it is not even tried."""
        if len(self._open) >= MAX_WAITING:
            return f"{MAX_WAITING} grammars wait to be compiled on this replica; try again"
        future = self._compile(job)
        self._open[job.job_id] = _Waiting(job, attempt, self._clock() + LIMIT_S, future)
        return ""

    def cancel(self, job_id: str) -> None:
        """Forget a job; unknown ids are ignored."""
        waiting = self._open.pop(job_id, None)
        if waiting is not None:
            waiting.future.cancel()

    def take_ready(self, wait_s: float = 0.0) -> list[Compiled]:
        """The jobs that are no longer compiled, waiting for a first one where there is none."""
        if not self._open:
            return []
        if wait_s > 0:
            wait([next(iter(self._open.values())).future], timeout=wait_s)
        now = self._clock()
        ready = [
            name
            for name, each in self._open.items()
            if each.future.done() or now >= each.deadline_s
        ]
        taken = [self._open.pop(name) for name in ready]
        if any(not each.future.done() for each in taken):
            self._change_lanes()
        return [_compiled(each) for each in taken]

    def close(self) -> None:
        for each in self._open.values():
            each.future.cancel()
        self._open.clear()
        for lane in (*self._stuck, self._lane):
            lane.close()

    def _compile(self, job: JobSpec) -> Future[Matcher]:
        grammar = job.sampling.grammar
        assert grammar is not None
        return self._lane.submit(lambda: self._compiler.matcher(grammar, job.delivered))

    def _change_lanes(self) -> None:
        """Who waited behind what takes too long goes on in another thread; where too many are
        stuck, it waits for one of them, up to its own limit."""
        self._stuck = [each for each in self._stuck if each.busy]
        if len(self._stuck) >= MAX_STUCK:
            return
        self._stuck.append(self._lane)
        self._lane.close()
        self._lane = Lane()
        for each in self._open.values():
            if each.future.cancel():
                each.future = self._compile(each.job)


def _compiled(waiting: _Waiting) -> Compiled:
    job, attempt, future = waiting.job, waiting.attempt, waiting.future
    if not future.done():
        future.cancel()
        late = f"the grammar was not compiled within {LIMIT_S:g} s; send a simpler one"
        return Compiled(job, attempt, None, late)
    error = future.exception()
    if error is None:
        return Compiled(job, attempt, future.result())
    if isinstance(error, GrammarRefused):
        return Compiled(job, attempt, None, f"the grammar is refused: {error}")
    # Whatever broke (the library's panics are no `Exception`), it is this job's end and no other's.
    said = f"{type(error).__name__}: {shortened(str(error))}"
    return Compiled(job, attempt, None, f"the grammar cannot be compiled: {said}")
