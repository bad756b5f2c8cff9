"""What an agent shows of its engines, from the reports that its heartbeat carries anyway."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from infra.metrics.registry import counter, gauge
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
PREFIX_QUERIES = counter(
    "prefix_cache_queries",
    "Positions of jobs when an engine started them, as far as they might have been cached.",
    ("revision",),
)
PREFIX_HITS = counter(
    "prefix_cache_hits", "How many of these were cached, and not computed again.", ("revision",)
)
PREEMPTIONS = counter(
    "num_preemptions",
    "Times that a running job had to give up its KV cache to others.",
    ("revision",),
)
_COUNTED = {
    "output_tokens": ENGINE_TOKENS,
    "prefix_queried_tokens": PREFIX_QUERIES,
    "prefix_hit_tokens": PREFIX_HITS,
    "preemptions": PREEMPTIONS,
}
"""Fields of a report that only grow."""
REPLICAS = SnapshotGauge(
    "agent_replicas", "Replicas of this agent by state, ended ones until forgotten.", ("state",)
)
WEIGHT_BYTES = counter(
    "weights_fetched_bytes", "Bytes of weights that starts have read, by tier.", ("tier",)
)
REFETCHED_CHUNKS = counter(
    "weights_refetched_chunks", "Chunks of weights that were broken and read again.", ()
)
HEDGED_READS = counter(
    "weights_hedged_reads", "Second requests to the store, where the first one was slow.", ()
)
PEER_BYTES = counter("weights_served_bytes", "Bytes of weights that were served to peers.", ())
CACHE_BYTES = gauge("model_cache_bytes", "Disk that cached models take on this machine.")


class EngineMetrics:
    """Remembers how much of each replica was counted."""

    def __init__(self) -> None:
        self._counted: dict[str, ReplicaReport] = {}

    def see(self, reports: Iterable[ReplicaReport], revisions: Mapping[str, str]) -> None:
        """`revisions`: by replica id, for every report."""
        by_revision: defaultdict[str, list[ReplicaReport]] = defaultdict(list)
        states: defaultdict[tuple[str, ...], float] = defaultdict(float)
        counted: dict[str, ReplicaReport] = {}
        for report in reports:
            by_revision[revisions[report.replica_id]].append(report)
            states[(report.state.value,)] += 1
            counted[report.replica_id] = report
            self._count(report, revisions[report.replica_id])
        self._counted = counted
        RUNNING.replace(_by(by_revision, lambda group: sum(each.running for each in group)))
        WAITING.replace(_by(by_revision, lambda group: sum(each.waiting for each in group)))
        KV_USAGE.replace(_by(by_revision, _kv_usage))
        REPLICAS.replace(states)

    def _count(self, report: ReplicaReport, revision: str) -> None:
        before = self._counted.get(report.replica_id)
        for field, metric in _COUNTED.items():
            seen = 0 if before is None else getattr(before, field)
            metric.labels(revision).inc(max(0, getattr(report, field) - seen))


def _by(
    groups: Mapping[str, Sequence[ReplicaReport]],
    measure: Callable[[Sequence[ReplicaReport]], float],
) -> dict[tuple[str, ...], float]:
    return {(revision,): measure(group) for revision, group in groups.items()}


def _kv_usage(group: Sequence[ReplicaReport]) -> float:
    total = sum(each.kv_tokens_total for each in group)
    return sum(each.kv_tokens_used for each in group) / total if total else 0.0
