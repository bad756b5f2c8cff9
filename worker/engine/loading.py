"""How an engine says how far its loading is: `report_loading`, wherever in `build` it knows it.

The process that builds the engine listens; built elsewhere (tests, benchmarks), nobody does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LoadingListener = Callable[[str, int, int], None]
"""Phase, bytes done, bytes in total (0 where the phase has no bytes)."""

_listener: ContextVar[LoadingListener | None] = ContextVar("loading_listener", default=None)


def report_loading(phase: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
    listener = _listener.get()
    if listener is not None:
        listener(phase, done_bytes, total_bytes)


@contextmanager
def listening(listener: LoadingListener) -> Iterator[None]:
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
