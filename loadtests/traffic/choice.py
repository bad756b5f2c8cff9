"""Which deployment a load test talks to, and what its first request will meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    model: str
    why: str
    ready_replicas: int | None
    """None: the server does not tell (its status takes an admin key)."""

    @property
    def said(self) -> str:
        """One line for a person."""
        return f"{self.model} ({self.why}); {self._first_request}"

    @property
    def _first_request(self) -> str:
        match self.ready_replicas:
            case None:
                return "perhaps a cold start first (only an admin key shows what is ready)"
            case 0:
                return "no replica is ready, so the first request is a cold start"
            case 1:
                return "1 replica is ready"
            case count:
                return f"{count} replicas are ready"


def choose(served: Sequence[str], wanted: str, ready: Mapping[str, int] | None) -> Choice:
    """The wanted deployment, else the one with the most ready replicas, else the first.

    `served` is not empty and has `wanted`, unless that is ""; `ready` counts ready replicas by
    deployment, None where they are not known.
    """
    counts = {name: (ready or {}).get(name, 0) for name in served}
    if wanted:
        model, why = wanted, "as asked for"
    elif len(served) == 1:
        model, why = served[0], "the only deployment"
    else:
        model = max(served, key=counts.__getitem__)
        first = "with the most ready replicas" if counts[model] else "by name"
        why = f"of {len(served)} deployments the first {first}"
    return Choice(model, why, None if ready is None else counts[model])
