"""Grammars that are being compiled while the batch runs."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from infra.grammar import GrammarRefused, shortened
from infra.wire import JobSpec
from worker.engine.grammar.compiler import GrammarCompiler
from worker.engine.grammar.matcher import Matcher


@dataclass(frozen=True, slots=True)
class Compiled:
    """A job whose grammar is ready, or cannot be."""

    job: JobSpec
    attempt: int
    matcher: Matcher | None
    refusal: str = ""


class Compilations:
    """One thread, in the order of arrival. The library lets go of Python's lock while it compiles,
    so running sequences go on; a job joins them at the first step after its grammar is ready."""

    def __init__(self, compiler: GrammarCompiler) -> None:
        self._compiler = compiler
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grammar")
        self._open: dict[str, tuple[JobSpec, int, Future[Matcher]]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def start(self, job: JobSpec, attempt: int) -> None:
        """Compile the grammar of a job."""
        grammar = job.sampling.grammar
        assert grammar is not None
        future = self._thread.submit(self._compiler.matcher, grammar, job.delivered)
        self._open[job.job_id] = (job, attempt, future)

    def cancel(self, job_id: str) -> None:
        """Forget a job; unknown ids are ignored."""
        _, _, future = self._open.pop(job_id, (None, 0, None))
        if future is not None:
            future.cancel()

    def take_ready(self, wait_s: float = 0.0) -> list[Compiled]:
        """The jobs that are no longer compiled, waiting for a first one where there is none."""
        if not self._open:
            return []
        if wait_s > 0:
            wait([next(iter(self._open.values()))[2]], timeout=wait_s)
        ready = [name for name, (_, _, future) in self._open.items() if future.done()]
        return [_compiled(*self._open.pop(name)) for name in ready]

    def close(self) -> None:
        self._open.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)


def _compiled(job: JobSpec, attempt: int, future: Future[Matcher]) -> Compiled:
    error = future.exception()
    if error is None:
        return Compiled(job, attempt, future.result())
    if isinstance(error, GrammarRefused):
        return Compiled(job, attempt, None, f"the grammar is refused: {error}")
    # Whatever broke (the library's panics are no `Exception`), it is this job's end and no other's.
    said = f"{type(error).__name__}: {shortened(str(error))}"
    return Compiled(job, attempt, None, f"the grammar cannot be compiled: {said}")
