"""What is known of one deployment when its next step is planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from control_plane.autoscaler.boot_time import PRIOR, BootTime
from control_plane.autoscaler.crash_loop import Failures
from control_plane.autoscaler.observation import Demand, ReplicaCapacity
from control_plane.controller.rollout_plan import RolloutPart
from control_plane.controller.way_back import Tries
from control_plane.ledger.budget import Verdict
from control_plane.store.tables import Instance, Replica


@dataclass(frozen=True, slots=True)
class DeploymentSeen:
    """Besides its row."""

    now: float
    """Database time."""
    replicas: Sequence[Replica]
    """Those that have not ended, oldest first."""
    running: Mapping[str, int]
    """Jobs that each replica runs, where known."""
    failures: Failures
    demand: Demand | None
    pending: Mapping[str, int] | None
    """Jobs in the queue of each revision; None where the queues cannot be asked."""
    former: Sequence[Replica] = ()
    """The newest replica, ended or not, of each of the last earlier revisions."""
    rollout: RolloutPart | None = None
    """Where the deployment is on its way from one revision to another."""
    kept: Sequence[Instance] = ()
    """Instances that stay for it although nothing runs on them."""
    boot: BootTime = PRIOR
    verdict: Verdict | None = None
    """Of its budget; None while that holds, and without one."""
    serving: int = 0
    """Replicas that are ready and speak."""
    capacity: ReplicaCapacity | None = None
    """Of one replica; None where nobody knows it."""
    uncounted: str = ""
    """Why it is not known, where there is an SLO."""
    needed: int = 0
    """As `Observation.kept`."""
    giving_way: Tries = field(default_factory=dict)
    """Revisions that serve on until the wanted one has its replicas."""
    before: int | None = None
    """As `Observation.before`."""
    ordered: int | None = None
    """What its owner wants instead of what the autoscaler says."""

    @classmethod
    def of_one_that_ends(
        cls,
        now: float,
        replicas: Sequence[Replica],
        kept: Sequence[Instance],
        pending: Mapping[str, int] | None,
    ) -> DeploymentSeen:
        return cls(now, replicas, {}, Failures(), None, pending, kept=kept)
