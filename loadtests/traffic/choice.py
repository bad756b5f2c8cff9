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
        return f"{self.model}: {self.why}; {self._first_request}"

    @property
    def _first_request(self) -> str:
        if self.ready_replicas is None:
            return (
                "whether a replica is ready is not known, so the first request may be a cold start"
            )
        if self.ready_replicas == 0:
            return "no replica is ready, so the first request is a cold start"
        plural = "" if self.ready_replicas == 1 else "s"
        return f"{self.ready_replicas} replica{plural} ready"


def choose(served: Sequence[str], wanted: str, ready: Mapping[str, int] | None) -> Choice:
    """The wanted deployment, else the one with the most ready replicas, else the first.

    `served` is not empty and has `wanted`, unless that is ""; `ready` counts ready replicas by
    deployment, None where they are not known.
    """
    counts = None if ready is None else {name: ready.get(name, 0) for name in served}
    if wanted:
        return Choice(wanted, "it was asked for", None if counts is None else counts[wanted])
    if len(served) == 1:
        why = "it is the only deployment"
        return Choice(served[0], why, None if counts is None else counts[served[0]])
    if counts is None:
        return Choice(served[0], f"the first of {len(served)} deployments", None)
    best = max(served, key=counts.__getitem__)
    why = "the first of those at zero" if counts[best] == 0 else "it has the most ready replicas"
    return Choice(best, f"of {len(served)} deployments {why}", counts[best])
