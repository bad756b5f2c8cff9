"""What one replica serves within its deployment's SLO (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from control_plane.autoscaler.observation import ReplicaCapacity
from infra.performance.capacity import RequestMix, Slo, capacity
from infra.performance.step_time import StepTime


def replica_capacity(
    time: StepTime,
    mix: RequestMix,
    slo: Slo,
    kv_tokens: int,
    max_running: int,
    source: Literal["model", "measured"],
) -> ReplicaCapacity:
    """Raises SloUnreachable: not even one sequence at a time meets the SLO."""
    found = capacity(time, mix, slo, kv_tokens, max_running)
    return ReplicaCapacity(
        sequences=found.sequences,
        prefill_tokens_per_s=found.prefill_tokens_per_s,
        decode_tokens_per_s=found.decode_tokens_per_s,
        source=source,
    )


def mean_of(each: Sequence[ReplicaCapacity]) -> ReplicaCapacity:
    """Of replicas on different devices, that take turns.

    Raises:
        ValueError: there is none.
    """
    if not each:
        raise ValueError("the mean capacity of no replica")
    measured = any(one.source == "measured" for one in each)
    return ReplicaCapacity(
        sequences=min(one.sequences for one in each),
        prefill_tokens_per_s=sum(one.prefill_tokens_per_s for one in each) / len(each),
        decode_tokens_per_s=sum(one.decode_tokens_per_s for one in each) / len(each),
        source="measured" if measured else "model",
    )
