"""A thread that computes one thing after the other and may be left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

from worker.engine.grammar.matcher import Matcher

_Task = tuple[Callable[[], Matcher], "Future[Matcher]"]


class Lane:
    """Unlike an executor's, its thread does not keep the process from ending."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="grammar", daemon=True)
        self._begun = False

    def submit(self, compute: Callable[[], Matcher]) -> Future[Matcher]:
        """Compute it after everything that was submitted before."""
        if not self._begun:
            self._begun = True
            self._thread.start()
        future: Future[Matcher] = Future()
        self._tasks.put((compute, future))
        return future

    @property
    def busy(self) -> bool:
        """Whether the thread has not ended, once the lane is closed."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End after what was submitted, save what is cancelled; returns at once."""
        self._tasks.put(None)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            compute, future = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(compute())
                except BaseException as error:  # noqa: BLE001 - a panic of the library is no `Exception`
                    future.set_exception(error)
