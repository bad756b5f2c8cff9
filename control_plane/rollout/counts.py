"""What the requests of one revision came to, as gateways counted them (pure)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True)
class Counts:
    requests: int = 0
    """Completed, failed or expired; one that its client gave up says nothing."""
    errors: int = 0
    """Failed or expired."""
    ttft: int = 0
    """Requests whose time to the first token had a limit."""
    ttft_missed: int = 0
    tpot: int = 0
    """Requests whose time per output token had a limit."""
    tpot_missed: int = 0

    def since(self, before: Counts) -> Counts:
        """What came after `before`. A Redis that came back empty counts from zero again."""
        names = [each.name for each in fields(self)]
        gone = any(getattr(self, name) < getattr(before, name) for name in names)
        base = Counts() if gone else before
        return Counts(*(getattr(self, name) - getattr(base, name) for name in names))

    def told(self) -> dict[str, int]:
        return asdict(self)
