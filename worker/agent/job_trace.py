"""The spans of one attempt on this replica: its lease, and the work until its first token."""

from __future__ import annotations

from infra.tracing.span import Attributes, is_recording, now_ns, record


class JobTrace:
    """Of a job whose request is traced; `of` says whether it is."""

    def __init__(self, traceparent: str, about: Attributes) -> None:
        self._traceparent = traceparent
        self._about = about
        self._taken_ns = 0

    @classmethod
    def of(cls, traceparent: str, about: Attributes) -> JobTrace | None:
        return cls(traceparent, about) if traceparent and is_recording() else None

    def leased(self, asked_ns: int) -> None:
        """The queue was asked at that time, and has just answered with this job."""
        self._taken_ns = now_ns()
        record("lease", asked_ns, self._taken_ns, self._traceparent, self._about)

    def first_token(self, committed_ns: int) -> None:
        """The engine's step that gave it ended at that time."""
        record("first token", self._taken_ns, committed_ns, self._traceparent, self._about)
