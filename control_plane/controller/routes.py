"""From rows to what a gateway needs to know (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from control_plane.autoscaler.boot_time import PRIOR, BootTime
from control_plane.controller.rollout_spec import leaves_all, replaces
from control_plane.controller.way_back import Tries, giving_way
from control_plane.rollout.strategy import ALL
from control_plane.store.repositories.replicas import Standing
from control_plane.store.tables import ApiKey, Deployment, Model, Revision, Rollout
from infra.states import DeploymentState, ReplicaState
from infra.wire import KeyEntry, Route, Target

_DEFAULT_QUEUE_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Share:
    """A revision and its part of a deployment's traffic."""

    revision: Revision
    model: Model
    weight: int


@dataclass(frozen=True, slots=True)
class Served:
    """A deployment and the revisions that take its traffic now."""

    deployment: Deployment
    shares: Sequence[Share]
    """The first one is what a gateway of an older wire version believes of all."""
    ready: int
    """Replicas of these revisions."""
    boot: BootTime = PRIOR
    """Of the next start, while none is ready."""
    over_budget: str = ""
    """Why nothing of it may run; empty where something may."""
    over_budget_s: float = 0.0


def weights(
    deployment: Deployment,
    rollout: Rollout | None,
    standing: Collection[Standing],
    tries: Tries | None = None,
) -> dict[str, int]:
    """Revision id -> its share of the traffic, the old one's first.

    An update changes over when there is something to change to: a revision without a ready replica
    takes no traffic while another has one, in a rollout and outside. After one that was ended in
    the middle its revision has a part until the old one has its replicas.

    Args:
        tries: looked up where replicas of other revisions than the wanted ones serve.
    """
    ready = _ready(standing)
    shares = _shares(deployment, rollout, standing)
    wanted = {deployment.revision_id}
    stable = deployment.revision_id
    if rollout is not None and rollout.to_revision_id == stable:
        stable = rollout.from_revision_id
        wanted.add(stable)
    going = {id: ready[id] for id in sorted(giving_way(tries or {}, stable)) if ready[id]}
    if not going or sum(ready[id] for id in wanted) >= deployment.target_replicas:
        return shares
    if len(shares) > 1 and replaces(deployment.spec):
        return shares | going
    [(first, share), *others] = shares.items()
    beside = {first: ready[first], **going} if ready[first] else going
    whole = sum(beside.values())
    return {id: share * count for id, count in beside.items()} | {
        id: each * whole for id, each in others
    }


def serves_elsewhere(
    deployment: Deployment, rollout: Rollout | None, standing: Collection[Standing]
) -> bool:
    """Whether replicas serve of a revision that is neither wanted nor left by a rollout."""
    wanted = {deployment.revision_id, rollout.from_revision_id if rollout is not None else ""}
    return not _ready(standing).keys() <= wanted


def _ready(standing: Iterable[Standing]) -> Counter[str]:
    """By revision."""
    there = [each for each in standing if each.state == ReplicaState.READY]
    return Counter({each.revision_id: each.replicas for each in there})


def _shares(
    deployment: Deployment, rollout: Rollout | None, standing: Iterable[Standing]
) -> dict[str, int]:
    there = [each for each in standing if each.state == ReplicaState.READY]
    ready = _ready(there)
    wanted = deployment.revision_id
    if rollout is None or rollout.to_revision_id != wanted:
        newest = max(there, key=lambda each: each.newest_id, default=None)
        return {wanted if ready[wanted] or newest is None else newest.revision_id: ALL}
    old = rollout.from_revision_id
    replaced = replaces(deployment.spec)
    if replaced and leaves_all(deployment.spec, deployment.target_replicas, ready[wanted]):
        return {wanted: ALL}
    if not ready[wanted] or not ready[old]:
        # Where nothing is ready, a revision that is only tried is not what everybody waits for.
        first = wanted if ready[wanted] or (replaced and not ready[old]) else old
        return {first: ALL}
    if replaced:
        shares = {old: ready[old], wanted: ready[wanted]}
    else:
        shares = {old: ALL - rollout.percent, wanted: rollout.percent}
    return {revision_id: share for revision_id, share in shares.items() if share}


def route(served: Served, missing_texts: Mapping[str, str]) -> Route:
    """What a gateway needs of one deployment.

    Args:
        missing_texts: text digests that could not be published -> why.
    """
    deployment = served.deployment
    scaling, slo = deployment.spec.get("scaling", {}), deployment.spec.get("slo") or {}
    targets = [_target(each) for each in served.shares]
    stable = targets[0]
    missing = next((why for each in targets if (why := missing_texts.get(each.text_digest))), "")
    return Route(
        deployment_id=deployment.id,
        name=deployment.name,
        created_at=int(deployment.created_at),
        targets=targets,
        text_digest=stable.text_digest,
        max_context_tokens=stable.max_context_tokens,
        vocabulary_size=stable.vocabulary_size,
        queue_limit_s=float(scaling.get("cold_start_limit_s", _DEFAULT_QUEUE_LIMIT_S)),
        ready_replicas=served.ready,
        # A client is told what was measured, never what is believed.
        boot_s=served.boot.p50_s if served.boot.starts else 0.0,
        boot_p90_s=served.boot.p90_s if served.boot.starts else 0.0,
        ttft_limit_s=float(slo.get("ttft_ms") or 0.0) / 1000,
        tpot_limit_s=float(slo.get("tpot_ms") or 0.0) / 1000,
        unavailable=_unavailable(deployment) or missing,
        over_budget=served.over_budget,
        over_budget_s=served.over_budget_s,
    )


def _target(share: Share) -> Target:
    model = share.model
    context = share.revision.options.get("max_context_tokens")
    limits = [each for each in (context, model.max_context_tokens) if isinstance(each, int)]
    return Target(
        revision_id=share.revision.id,
        weight=share.weight,
        text_digest=model.text_digest,
        max_context_tokens=min((each for each in limits if each > 0), default=0),
        vocabulary_size=model.vocabulary_size,
    )


def key_entry(key: ApiKey, over_budget: str = "", over_budget_s: float = 0.0) -> KeyEntry:
    return KeyEntry(
        key_id=key.id,
        hash=key.hash,
        tenant=key.tenant,
        scopes=tuple(key.scopes),
        over_budget=over_budget,
        over_budget_s=over_budget_s,
    )


def _unavailable(deployment: Deployment) -> str:
    if deployment.state == DeploymentState.FAILED:
        return f"deployment '{deployment.name}' has failed: {deployment.reason}"
    if deployment.state == DeploymentState.DELETING:
        return f"deployment '{deployment.name}' is being deleted"
    return ""


def by_deployment(standing: Sequence[Standing]) -> dict[str, list[Standing]]:
    grouped: dict[str, list[Standing]] = {}
    for each in standing:
        grouped.setdefault(each.deployment_id, []).append(each)
    return grouped
