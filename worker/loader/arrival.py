"""Fills a model part by part as its weights come, and keeps forward passes behind that.

A part is usable once it is filled, so the first prompt runs through the layers as they arrive
(PipeSwitch, OSDI'20).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from worker.engine.base import EngineError
from worker.loader.weight_source import WeightSource
from worker.loader.weights import fill_part, part_bytes
from worker.models.base import Model, WeightTarget

Fill = Callable[[Mapping[str, WeightTarget], WeightSource], None]
_LOOK_S = 0.05
_CAUTION = 3.0
_LEAST_BOUND_S = 5.0


class Arrival:
    """One thread fills a model; forward passes of others wait at its gate.

    Args:
        source: checked against the model.
        fill: puts what a source has into some of a model's tensors, and returns when it may be
            read there.
    """

    def __init__(self, model: Model, source: WeightSource, fill: Fill = fill_part) -> None:
        self._model = model
        self._parts = model.parts()
        self._sizes = [part_bytes(part, source) for part in self._parts]
        self._fill = fill
        self._filled = 0
        self._failure: Exception | None = None
        self._stopped = False
        self._changes = threading.Condition()
        self._began_s = time.monotonic()
        model.gate = self._pass
        # The thread alone holds the source: memory that is only passed through goes with it.
        self._thread = threading.Thread(
            target=self._run, args=(source,), name="weights", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    @property
    def total_bytes(self) -> int:
        return sum(self._sizes)

    @property
    def done_bytes(self) -> int:
        return sum(self._sizes[: self._filled])

    @property
    def complete(self) -> bool:
        return self._filled == len(self._parts)

    @property
    def bound_s(self) -> float:
        """How much longer it may take at worst; 0 when all is there."""
        return 0.0 if self.complete else _LEAST_BOUND_S + _CAUTION * self._remaining_s()

    @contextmanager
    def ungated(self) -> Iterator[None]:
        """Forward passes wait for nothing meanwhile: of use where what comes out is not."""
        self._set_gate(False)
        try:
            yield
        finally:
            self._set_gate(True)

    def wait(self, progress: Callable[[int, int], None], near_s: float = 0.0) -> None:
        """Until all is there, or the rest is expected within `near_s`; `progress` hears bytes done
        and in total.

        Raises:
            EngineError: the weights do not come.
        """
        while not self.complete and self._remaining_s() > near_s:
            progress(self.done_bytes, self.total_bytes)
            with self._changes:
                self._changes.wait_for(lambda: self.complete or self._over, _LOOK_S)
            self._require_hope()
        self._require_hope()
        progress(self.done_bytes, self.total_bytes)

    def close(self) -> None:
        """Fill no more. What is waited for meanwhile fails."""
        with self._changes:
            self._stopped = True
            self._changes.notify_all()

    def _set_gate(self, gated: bool) -> None:
        with self._changes:
            self._model.gate = self._pass if gated and not self.complete else None

    def _pass(self, part: int) -> None:
        """The gate."""
        if part < self._filled:
            return
        with self._changes:
            self._changes.wait_for(lambda: part < self._filled or self._over)
        if part >= self._filled:
            self._require_hope()

    @property
    def _over(self) -> bool:
        return self._stopped or self._failure is not None

    def _require_hope(self) -> None:
        if self._failure is not None:
            raise EngineError(f"the weights did not come: {self._failure}") from self._failure
        if self._stopped and not self.complete:
            raise EngineError("the engine is closed: no more weights come")

    def _remaining_s(self) -> float:
        """At the speed so far; endless before the first part."""
        done = self.done_bytes
        elapsed_s = time.monotonic() - self._began_s
        return elapsed_s * (self.total_bytes - done) / done if done else float("inf")

    def _run(self, source: WeightSource) -> None:
        for part in self._parts:
            try:
                if self._stopped:
                    return
                self._fill(part, source)
            except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
                with self._changes:
                    self._failure = error
                    self._changes.notify_all()
                return
            with self._changes:
                self._filled += 1
                self._changes.notify_all()
        self._set_gate(False)
