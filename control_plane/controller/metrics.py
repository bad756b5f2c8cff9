"""What the controller measures: its passes, and how much there is of everything.

Every controller shows the whole store and every queue: take the maximum over controllers.
"""

from __future__ import annotations

from infra.metrics.registry import counter, gauge, histogram
from infra.metrics.snapshot import SnapshotGauge
from infra.queue.queue import Signals

_PASS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

PASS_DURATION = histogram(
    "controller_pass_duration_seconds", "One pass of the controller over every noun.", _PASS_S
)
RECONCILE_ERRORS = counter(
    "reconcile_errors", "Times that a noun could not be reconciled in a pass.", ("noun",)
)
_START_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
START_PHASE = histogram(
    "replica_start_phase_seconds",
    "One phase of a replica's start (the ledger of `tamer explain --cold-starts`), by outcome.",
    _START_S,
    ("phase", "outcome"),
)
QUEUE_JOBS = SnapshotGauge(
    "queue_jobs",
    "Jobs in a queue by state: queued (its depth), leased, streaming or orphaned.",
    ("deployment", "revision", "state"),
)
QUEUE_WAIT = SnapshotGauge(
    "queue_oldest_wait_seconds",
    "How long the oldest queued job has waited.",
    ("deployment", "revision"),
)
REPLICAS = SnapshotGauge("replicas", "Replicas that have not ended.", ("deployment", "state"))
INSTANCES = SnapshotGauge("instances", "Instances that have not ended.", ("state",))
OPERATIONS = SnapshotGauge("operations", "Operations that have not ended.", ("kind", "state"))

INSTANCE_STEPS = counter(
    "instance_steps",
    "Decisions about instances by cause: launch, empty, never_joined, ended_by_cloud, silent, "
    "unknown_to_cloud and so on.",
    ("cause",),
)
LEAKED_MACHINES = counter(
    "leaked_machines", "Machines that ran although no row wanted them; each was terminated."
)
CLOUD_AGE = gauge(
    "cloud_age_seconds",
    "Time since the cloud was asked for the machines that the controller believes in; +Inf where "
    "it believes in none.",
)
NAMELESS_MACHINES = gauge(
    "nameless_machines", "Machines that carry our owner's tag and no id: nobody ends them."
)


def see_queues(deployment: str, signals: dict[str, Signals]) -> None:
    """Show the queues of one deployment, by revision."""
    jobs: dict[tuple[str, ...], float] = {}
    for revision_id, each in signals.items():
        for state in ("queued", "leased", "streaming", "orphaned"):
            jobs[deployment, revision_id, state] = getattr(each, state)
    QUEUE_JOBS.replace_of(deployment, jobs)
    QUEUE_WAIT.replace_of(
        deployment, {(deployment, key): each.oldest_wait_s for key, each in signals.items()}
    )


def see_start(outcome: str, phases_s: dict[str, float]) -> None:
    """Count a start that is over; by one controller, once."""
    for phase, seconds in phases_s.items():
        START_PHASE.labels(phase, outcome).observe(seconds)


def keep_only(deployments: set[str]) -> None:
    """Forget the queues of deployments that are gone."""
    QUEUE_JOBS.keep_only(deployments)
    QUEUE_WAIT.keep_only(deployments)
