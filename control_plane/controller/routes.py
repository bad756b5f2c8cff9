"""From rows to what a gateway needs to know (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from control_plane.autoscaler.boot_time import PRIOR, BootTime
from control_plane.store.repositories.replicas import Standing
from control_plane.store.tables import ApiKey, Deployment, Model, Revision
from infra.states import DeploymentState, ReplicaState
from infra.wire import KeyEntry, Route, Target

_DEFAULT_QUEUE_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Served:
    """A deployment and the revision that takes its traffic now."""

    deployment: Deployment
    revision: Revision
    model: Model
    ready: int
    """Replicas of that revision."""
    boot: BootTime = PRIOR
    """Of the next start, while none is ready."""


def serving_revision(deployment: Deployment, standing: Iterable[Standing]) -> tuple[str, int]:
    """The revision that takes the traffic, and how many replicas of it are ready.

    That is the wanted one, unless it has no ready replica yet while an older one has: an update
    changes over when there is something to change to.
    """
    ready = {each.revision_id: each for each in standing if each.state == ReplicaState.READY}
    wanted = ready.get(deployment.revision_id)
    if wanted is None and not ready:
        return deployment.revision_id, 0
    serving = wanted or max(ready.values(), key=lambda each: each.newest_id)
    return serving.revision_id, serving.replicas


def route(served: Served, missing_texts: Mapping[str, str]) -> Route:
    """What a gateway needs of one deployment.

    Args:
        missing_texts: text digests that could not be published -> why.
    """
    deployment, model = served.deployment, served.model
    context = served.revision.options.get("max_context_tokens")
    limits = [each for each in (context, model.max_context_tokens) if isinstance(each, int)]
    scaling = deployment.spec.get("scaling", {})
    return Route(
        deployment_id=deployment.id,
        name=deployment.name,
        created_at=int(deployment.created_at),
        targets=[Target(revision_id=served.revision.id)],
        text_digest=model.text_digest,
        max_context_tokens=min((each for each in limits if each > 0), default=0),
        vocabulary_size=model.vocabulary_size,
        queue_limit_s=float(scaling.get("cold_start_limit_s", _DEFAULT_QUEUE_LIMIT_S)),
        ready_replicas=served.ready,
        # A client is told what was measured, never what is believed.
        boot_s=served.boot.p50_s if served.boot.starts else 0.0,
        boot_p90_s=served.boot.p90_s if served.boot.starts else 0.0,
        unavailable=_unavailable(deployment) or missing_texts.get(model.text_digest, ""),
    )


def key_entry(key: ApiKey) -> KeyEntry:
    return KeyEntry(key_id=key.id, hash=key.hash, tenant=key.tenant, scopes=tuple(key.scopes))


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
