"""One request of a load test, as its client saw it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    UNFINISHED = "unfinished"
    """The test ended while the answer was still being streamed."""
    DROPPED = "dropped"
    """Never sent: as many requests as allowed were under way when its time had come."""


class RequestRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """Times are milliseconds of the client's monotonic clock, counted from the sending."""

    kind: str
    """`chat`, `completion` or `conversation`."""
    outcome: Outcome
    sent_s: float
    """Seconds from the start of the test to the sending."""
    ended_s: float
    lag_ms: float = 0.0
    """How late the client was to send it; only where a schedule said when."""
    ttft_ms: float | None = None
    """Time to the first non-empty token."""
    e2e_ms: float | None = None
    gaps_ms: list[float] = []
    """Between one event with text and the next (inter-token latency; ITL)."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    """Both as the server's usage chunk counts them."""
    error: str = ""

    @property
    def tpot_ms(self) -> float | None:
        """(e2e - TTFT) / (output tokens - 1); None for an answer of fewer than two tokens."""
        if self.e2e_ms is None or self.ttft_ms is None or self.output_tokens < 2:
            return None
        return (self.e2e_ms - self.ttft_ms) / (self.output_tokens - 1)

    @property
    def tokens_per_s(self) -> float | None:
        """Output tokens per second of this stream, the wait for the first one included."""
        if not self.e2e_ms or not self.output_tokens:
            return None
        return self.output_tokens / self.e2e_ms * 1000


class Slo(msgspec.Struct, frozen=True):
    """Limits for every single request; a limit of 0 is none."""

    ttft_ms: float = 0.0
    tpot_ms: float = 0.0

    def is_met_by(self, record: RequestRecord) -> bool:
        """Whether the answer came whole and within every limit.

        An answer without any text had no first token: the client waited for it until its end.
        """
        if record.outcome is not Outcome.COMPLETED or record.e2e_ms is None:
            return False
        ttft_ms = record.e2e_ms if record.ttft_ms is None else record.ttft_ms
        if self.ttft_ms and ttft_ms > self.ttft_ms:
            return False
        return not (self.tpot_ms and (record.tpot_ms or 0.0) > self.tpot_ms)

    def is_missed_already_by(self, record: RequestRecord) -> bool:
        """Whether an unfinished request had waited too long for its first token when it was cut
        off: however it had gone on, it would have missed."""
        if record.outcome is not Outcome.UNFINISHED or not self.ttft_ms:
            return False
        waited_ms = (record.ended_s - record.sent_s) * 1000
        return (waited_ms if record.ttft_ms is None else record.ttft_ms) > self.ttft_ms
