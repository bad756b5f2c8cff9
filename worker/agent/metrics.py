"""What an agent shows of its engines, from the reports that its heartbeat carries anyway."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from infra.metrics.registry import counter
from infra.metrics.snapshot import SnapshotGauge
from infra.wire import ReplicaReport

RUNNING = SnapshotGauge(
    "num_requests_running", "Jobs that the engines of a revision run now.", ("revision",)
)
WAITING = SnapshotGauge(
    "num_requests_waiting", "Jobs that wait inside the engines of a revision.", ("revision",)
)
KV_USAGE = SnapshotGauge(
    "kv_cache_usage_perc", "Used share of the KV cache, 0 to 1.", ("revision",)
)
ENGINE_TOKENS = counter(
    "engine_generation_tokens",
    "Tokens that engines made, those of lost attempts included.",
    ("revision",),
)
REPLICAS = SnapshotGauge(
    "agent_replicas", "Replicas of this agent by state, ended ones until forgotten.", ("state",)
)


class EngineMetrics:
    """Remembers how many tokens of each replica were counted."""

    def __init__(self) -> None:
        self._counted: dict[str, int] = {}

    def see(self, reports: Iterable[ReplicaReport], revisions: Mapping[str, str]) -> None:
        """`revisions`: by replica id, for every report."""
        by_revision: defaultdict[str, list[ReplicaReport]] = defaultdict(list)
        states: defaultdict[tuple[str, ...], float] = defaultdict(float)
        counted: dict[str, int] = {}
        for report in reports:
            by_revision[revisions[report.replica_id]].append(report)
            states[(report.state.value,)] += 1
            counted[report.replica_id] = report.output_tokens
        for revision, group in by_revision.items():
            fresh = sum(
                max(0, each.output_tokens - self._counted.get(each.replica_id, 0)) for each in group
            )
            ENGINE_TOKENS.labels(revision).inc(fresh)
        self._counted = counted
        RUNNING.replace(_by(by_revision, lambda group: sum(each.running for each in group)))
        WAITING.replace(_by(by_revision, lambda group: sum(each.waiting for each in group)))
        KV_USAGE.replace(_by(by_revision, _kv_usage))
        REPLICAS.replace(states)


def _by(
    groups: Mapping[str, Sequence[ReplicaReport]],
    measure: Callable[[Sequence[ReplicaReport]], float],
) -> dict[tuple[str, ...], float]:
    return {(revision,): measure(group) for revision, group in groups.items()}


def _kv_usage(group: Sequence[ReplicaReport]) -> float:
    total = sum(each.kv_tokens_total for each in group)
    return sum(each.kv_tokens_used for each in group) / total if total else 0.0
