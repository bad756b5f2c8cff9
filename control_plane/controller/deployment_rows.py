"""What the store says of deployments: of all of them for a look, of one that is held for a change.

Either way with a number of statements that does not grow with rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.autoscaler import decision as scaling
from control_plane.autoscaler.boot_time import BootTime
from control_plane.autoscaler.crash_loop import Failures
from control_plane.autoscaler.policy import Mode
from control_plane.controller.boot_memory import BootMemory
from control_plane.controller.boot_times import next_boot_time
from control_plane.controller.former_memory import FormerMemory
from control_plane.controller.live import Live
from control_plane.controller.model_memory import ModelMemory
from control_plane.controller.rollout_plan import RolloutPart, in_a_row, rollout_part
from control_plane.controller.spending import budget_of, deployment_verdict
from control_plane.controller.way_back import Tries, giving_way
from control_plane.ledger.budget import Verdict
from control_plane.store.clock import read_clock
from control_plane.store.ledger_tables import Spending
from control_plane.store.repositories import (
    budgets,
    decisions,
    deployments,
    instances,
    replica_costs,
    replicas,
    rollouts,
)
from control_plane.store.repositories.listings import Deployed
from control_plane.store.repositories.starts import BootSample
from control_plane.store.tables import Decision, Deployment, Instance, Replica, Revision, Rollout
from infra.performance.serving import Serving
from infra.states import InstanceState, ReplicaState

_OVERRULE = tuple(
    each.value
    for each in (scaling.Reason.ORDERED, scaling.Reason.BUDGET, scaling.Reason.CRASH_LOOP)
)
"""Why the number is for a while neither what demand nor what advice would have it be."""


@dataclass(frozen=True)
class DeploymentRows:
    """What the store says of one deployment."""

    now: float
    """Database time."""
    deployment: Deployment
    revision: Revision
    live: Sequence[Replica]
    """Oldest first."""
    former: Sequence[Replica]
    """The newest replica, ended or not, of each of the last earlier revisions."""
    failed: Sequence[Replica]
    """Newest first, as `replicas.ended_unready` counts them."""
    rollout: Rollout | None
    """The one that is under way."""
    failed_leaving: Sequence[Replica]
    """As `failed`, of the revision that it leaves."""
    last_decision: Decision | None
    kept: Sequence[Instance]
    samples: Sequence[BootSample]
    failed_usd: float = 0.0
    """What machines cost while the failed were on them."""
    spending: Spending | None = None
    """Where it has a budget, and something was summed up."""
    serving: Serving | None = None
    """None where the size of its model is not known."""
    before: int | None = None
    """As `Observation.before`."""
    tries: Tries = field(default_factory=dict)
    """Looked up where replicas of other revisions than the wanted ones serve."""

    @cached_property
    def live_ids(self) -> Sequence[str]:
        return [each.id for each in self.live]

    @cached_property
    def boot(self) -> BootTime:
        asleep = any(each.state == ReplicaState.SLEEPING for each in self.live)
        return next_boot_time(self.samples, asleep)

    @cached_property
    def revision_ids(self) -> set[str]:
        """Those whose queues may hold jobs of this deployment."""
        ran = (*self.live, *self.former)
        return {self.deployment.revision_id, *(each.revision_id for each in ran)}

    @property
    def failures(self) -> Failures:
        return in_a_row(self.failed, self.failed_usd)

    @property
    def verdict(self) -> Verdict | None:
        return deployment_verdict(self.deployment.spec, self.spending, self.now)

    @property
    def giving_way(self) -> Tries:
        stable = self.deployment.revision_id if self.part is None else self.part.revision_id
        going = giving_way(self.tries, stable)
        return {id: row for id, row in self.tries.items() if id in going}

    @property
    def part(self) -> RolloutPart | None:
        row = self.rollout
        if row is None or row.to_revision_id != self.deployment.revision_id:
            return None
        return rollout_part(row, self.deployment.spec, in_a_row(self.failed_leaving))

    def is_news(self, decision: scaling.Decision) -> bool:
        last = self.last_decision
        if last is None:
            return True
        age_s = self.now - last.created_at
        advised = last.inputs.get(scaling.ADVISED)
        target = self.deployment.target_replicas
        return scaling.is_news(decision, target, last.reason, age_s, advised)

    @property
    def ordered(self) -> int | None:
        """What its owner wants instead of what the autoscaler says, while that holds."""
        deployment = self.deployment
        return deployment.override_replicas if _is_ordered(deployment, self.now) else None


class DeploymentReader:
    """Remembers what cannot have changed since it was read."""

    def __init__(self, failures: int) -> None:
        """`failures`: how many failed starts matter."""
        self._failures = failures
        self._boots = BootMemory()
        self._former = FormerMemory()
        self._models = ModelMemory()

    async def all(self, session: AsyncSession, live: Live) -> list[DeploymentRows]:
        """Of everything that is live, by name."""
        kept = [each for each in live.instances.values() if _stays(each)]
        running = list(live.replicas.values())
        former = await self._former.of(session, live.deployments, running)
        wanted = {each.revision.id for each in live.deployments}
        self._boots.keep_only(wanted)
        self._models.keep_only(wanted)
        return await self._rows(session, live.now, live.deployments, running, former, kept)

    async def one(self, session: AsyncSession, deployment_id: str) -> DeploymentRows | None:
        """As the rows are now; None if it is deleted."""
        found = await deployments.live_among(session, [deployment_id])
        if not found:
            return None
        [deployed] = found
        [rows] = await self._rows(
            session,
            await read_clock(session),
            [deployed],
            await replicas.live_of(session, deployment_id),
            await self._former.read(session, [deployed.deployment]),
            await instances.kept_for(session, deployment_id),
        )
        return rows

    async def _rows(
        self,
        session: AsyncSession,
        now: float,
        deployed: Sequence[Deployed],
        live: Sequence[Replica],
        former: Mapping[str, Sequence[Replica]],
        kept: Iterable[Instance],
    ) -> list[DeploymentRows]:
        ids = [each.deployment.id for each in deployed]
        failed = await replicas.ended_unready(session, ids, self._failures)
        under_way = await rollouts.open_among(session, ids)
        leaving = (
            await replicas.ended_unready_leaving(session, list(under_way), self._failures)
            if under_way
            else {}
        )
        live_of, kept_for = _by_deployment(live), _by_owner(kept)
        elsewhere = [
            each.deployment.id
            for each in deployed
            if _serves_elsewhere(each, live_of[each.deployment.id], under_way)
        ]
        tries = await rollouts.tries(session, elsewhere)
        usd = await replica_costs.usd_by_deployment(
            session, (each.id for own in failed.values() for each in own)
        )
        spent = await budgets.spendings(
            session,
            (budgets.of_deployment(each.deployment.id) for each in deployed if _has_budget(each)),
        )
        newest = await decisions.newest_of(session, ids, decisions.SCALE)
        before = {
            deployment.id: await _before(session, deployment)
            for deployment, _ in deployed
            if _was_overruled(deployment, newest.get(deployment.id), now)
        }
        revision_ids = [each.revision.id for each in deployed]
        samples = await self._boots.of(session, revision_ids, now)
        servings = await self._models.of(session, [each.revision for each in deployed])
        return [
            DeploymentRows(
                now=now,
                deployment=deployment,
                revision=revision,
                live=live_of[deployment.id],
                former=former.get(deployment.id, ()),
                failed=failed.get(deployment.id, ()),
                rollout=under_way.get(deployment.id),
                failed_leaving=leaving.get(deployment.id, ()),
                last_decision=newest.get(deployment.id),
                kept=kept_for[deployment.id],
                samples=samples.get(revision.id, ()),
                failed_usd=usd.get(deployment.id, 0.0),
                spending=spent.get(budgets.of_deployment(deployment.id)),
                serving=servings[revision.id],
                tries=tries.get(deployment.id, {}),
                before=before.get(deployment.id),
            )
            for deployment, revision in deployed
        ]


def _has_budget(deployed: Deployed) -> bool:
    return bool(budget_of(deployed.deployment.spec).limits())


def _was_overruled(deployment: Deployment, last: Decision | None, now: float) -> bool:
    """Where decisions are advice, nothing else would bring the number back; so until the next."""
    advised = deployment.spec.get("scaling", {}).get("mode") == Mode.ADVISE
    overruled = last is not None and last.reason in _OVERRULE
    return advised and overruled and not _is_ordered(deployment, now)


async def _before(session: AsyncSession, deployment: Deployment) -> int:
    """Replicas that were wanted when something else began to decide."""
    found = await decisions.newest_for_other_reasons(
        session, deployment.id, decisions.SCALE, _OVERRULE
    )
    return int(found.outcome["target_replicas"]) if found is not None else 0


def _is_ordered(deployment: Deployment, now: float) -> bool:
    return deployment.override_replicas is not None and now < deployment.override_until


def _serves_elsewhere(
    deployed: Deployed, live: Iterable[Replica], under_way: Mapping[str, Rollout]
) -> bool:
    """Whether replicas serve of a revision that is neither wanted nor left by a rollout."""
    deployment = deployed.deployment
    rollout = under_way.get(deployment.id)
    wanted = {deployment.revision_id, rollout.from_revision_id if rollout is not None else ""}
    return any(each.revision_id not in wanted and each.state == ReplicaState.READY for each in live)


def _stays(instance: Instance) -> bool:
    return instance.kept_for is not None and instance.state == InstanceState.JOINED


def _by_deployment(live: Iterable[Replica]) -> defaultdict[str, list[Replica]]:
    found: defaultdict[str, list[Replica]] = defaultdict(list)
    for replica in live:
        found[replica.deployment_id].append(replica)
    return found


def _by_owner(kept: Iterable[Instance]) -> defaultdict[str, list[Instance]]:
    found: defaultdict[str, list[Instance]] = defaultdict(list)
    for instance in kept:
        if instance.kept_for is not None:
            found[instance.kept_for].append(instance)
    return found
