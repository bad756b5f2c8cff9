"""The same engine without anything around it: a process that steps it in a bare loop."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from infra.wire import FinishReason, JobSpec, Sampling
from worker.engine.base import Engine, EngineSpec
from worker.engine.process import find_builder

_LOAD_LIMIT_S = 180.0
_WAVE_LIMIT_S = 300.0
_STOP_LIMIT_S = 10.0


class EngineArmFailed(RuntimeError):
    """The engine could not be built, or gave something else than what was asked for."""


class EngineArm:
    """An engine with one thread, on one core, in a process of its own; idle between waves."""

    def __init__(self, engine: str, model: Path, options: dict[str, Any], core: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=_serve, args=(theirs, engine, model, options, core), daemon=True
        )
        self._process.start()
        theirs.close()
        self._receive(_LOAD_LIMIT_S)

    def wave(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> float:
        """Output tokens per second: all prompts submitted at once, stepped until all have ended."""
        self._pipe.send((prompts, max_tokens))
        return float(self._receive(_WAVE_LIMIT_S))

    def _receive(self, limit_s: float) -> Any:
        try:
            if not self._pipe.poll(limit_s):
                raise EngineArmFailed(f"the engine did not answer within {limit_s:.0f} s")
            said = self._pipe.recv()
        except EOFError as error:
            raise EngineArmFailed("the engine's process ended; it says why above") from error
        if isinstance(said, str):
            raise EngineArmFailed(said)
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pipe.close()
        self._process.join(_STOP_LIMIT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(
    pipe: Connection, engine_name: str, model: Path, options: dict[str, Any], core: int
) -> None:
    os.sched_setaffinity(0, {core})
    # Before a numeric library is imported, as the real engine process does it.
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    engine = find_builder(engine_name)(EngineSpec("in-process", model, options, threads=1))
    pipe.send(0.0)
    while True:
        try:
            prompts, max_tokens = pipe.recv()
        except EOFError:
            engine.close()
            return
        try:
            pipe.send(drive(engine, prompts, max_tokens))
        except EngineArmFailed as error:
            pipe.send(str(error))


def drive(engine: Engine, prompts: Sequence[Sequence[int]], max_tokens: int) -> float:
    """Run one wave to its end; returns output tokens per second.

    Raises:
        EngineArmFailed: a job failed or had another length.
    """
    sampling = Sampling(max_tokens=max_tokens, temperature=0.0, ignore_eos=True)
    began = time.perf_counter()
    for number, prompt in enumerate(prompts):
        refusal = engine.submit(JobSpec(f"job-{number}", "wave", list(prompt), sampling), 1)
        if refusal is not None:
            raise EngineArmFailed(f"the engine refused a job: {refusal.error}")
    running, tokens = len(prompts), 0
    while running:
        for event in engine.step():
            tokens += len(event.tokens)
            if event.finish is FinishReason.ERROR:
                raise EngineArmFailed(event.error)
            running -= event.finish is not None
    elapsed_s = time.perf_counter() - began
    if tokens != len(prompts) * max_tokens:
        raise EngineArmFailed(f"{tokens} tokens, not {len(prompts)} x {max_tokens}")
    return tokens / elapsed_s
