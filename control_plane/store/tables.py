"""The tables. Times are epoch seconds of the database's own clock; states are `infra.states`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    MetaData,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from control_plane.store.free_text import FreeText


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {float: Double, dict[str, Any]: JSON, list[str]: JSON, list[Any]: JSON}


class Leased:
    """A row that one controller works on at a time (dstack's row leases)."""

    lock_token: Mapped[str | None] = mapped_column(default=None)
    lock_expires_at: Mapped[float] = mapped_column(default=0.0)


class Model(Base):
    """Weights and tokenizer in the registry. `digest` names the content."""

    __tablename__ = "models"
    __table_args__ = (
        Index(
            "uq_models_live_name",
            "name",
            unique=True,
            sqlite_where=text("state != 'deleted'"),
            postgresql_where=text("state != 'deleted'"),
        ),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    source: Mapped[str]
    state: Mapped[str]
    """importing, ready or deleted (the row stays: old revisions point at it)"""
    error: Mapped[str] = mapped_column(FreeText, default="")
    digest: Mapped[str] = mapped_column(default="")
    text_digest: Mapped[str] = mapped_column(default="")
    """Content of `text.json` in the model's folder: an encoded wire.TextAssets."""
    uri: Mapped[str] = mapped_column(default="")
    architecture: Mapped[str] = mapped_column(default="")
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    parameters: Mapped[int] = mapped_column(BigInteger, default=0)
    max_context_tokens: Mapped[int] = mapped_column(default=0)
    vocabulary_size: Mapped[int] = mapped_column(default=0)
    weights_root: Mapped[str] = mapped_column(default="")
    """The root of its package's index; empty: its files are no package."""
    quantization: Mapped[str] = mapped_column(default="")
    packing: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """How its weights were asked to be kept; what was left out is not in it."""
    packed_from: Mapped[str] = mapped_column(default="")
    """The model that it is another package of."""
    replaces: Mapped[bool] = mapped_column(default=False)
    """Whether it takes the name of that model when it is ready."""
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    """The fields of `infra.performance.ModelFacts`; empty: imported before they were kept, or its
    config does not say."""
    created_at: Mapped[float]
    updated_at: Mapped[float]


class Revision(Base):
    """A deployment's model digest x engine x options; immutable. Its id is the digest of those."""

    __tablename__ = "revisions"
    id: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    model_digest: Mapped[str]
    engine: Mapped[str]
    options: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class Deployment(Leased, Base):
    """A name in front of a revision. `spec` is what the user wrote, with defaults filled in."""

    __tablename__ = "deployments"
    __table_args__ = (
        Index(
            "uq_deployments_live_name",
            "name",
            unique=True,
            sqlite_where=text("state != 'deleted'"),
            postgresql_where=text("state != 'deleted'"),
        ),
        Index("ix_deployments_name", "name", "id"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    generation: Mapped[int] = mapped_column(default=1)
    """Rises with every change of the spec."""
    revision_id: Mapped[str] = mapped_column(ForeignKey("revisions.id"))
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(FreeText, default="")
    target_replicas: Mapped[int] = mapped_column(default=0)
    spare_replicas: Mapped[int] = mapped_column(default=0, server_default="0")
    """Beside the target, while the cloud takes many away."""
    override_replicas: Mapped[int | None] = mapped_column(default=None)
    """What its owner has ordered instead of the autoscaler, until then."""
    override_until: Mapped[float] = mapped_column(default=0.0, server_default="0")
    created_at: Mapped[float]
    updated_at: Mapped[float]


class Rollout(Base):
    """The way of a deployment from one revision to the next; it is changed with the
    deployment's row locked."""

    __tablename__ = "rollouts"
    __table_args__ = (
        Index(
            "uq_rollouts_open",
            "deployment_id",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index("ix_rollouts_deployment_id", "deployment_id", "id"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id"))
    from_revision_id: Mapped[str] = mapped_column(ForeignKey("revisions.id"))
    to_revision_id: Mapped[str] = mapped_column(ForeignKey("revisions.id"))
    from_spec: Mapped[dict[str, Any]]
    """What the specification said of the old revision: its model and engine."""
    state: Mapped[str]
    step: Mapped[int] = mapped_column(default=0)
    percent: Mapped[int] = mapped_column(default=0)
    """Of the traffic, to the new revision."""
    looks: Mapped[int] = mapped_column(default=0)
    """How often the counts of this step were tested."""
    watched_s: Mapped[float] = mapped_column(default=0.0, server_default="0")
    """Of this step, before the deployment fell asleep in it."""
    promoted: Mapped[bool] = mapped_column(default=False)
    baseline: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Revision id -> what its requests had come to when the rollout began."""
    step_baseline: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The same, when the present state began."""
    reason: Mapped[str] = mapped_column(FreeText, default="")
    created_at: Mapped[float]
    state_at: Mapped[float]
    """When the present state began."""
    updated_at: Mapped[float]
    ended_at: Mapped[float | None] = mapped_column(default=None)


class Replica(Leased, Base):
    """A gang of ranks that serves one revision on one instance."""

    __tablename__ = "replicas"
    __table_args__ = (
        # Failed starts, and the last that was ready, of a generation.
        Index("ix_replicas_failures", "deployment_id", "generation", "state", "ended_at"),
        Index("ix_replicas_generation_ready", "deployment_id", "generation", "ready_at"),
        Index("ix_replicas_newest_of_revision", "deployment_id", "revision_id", "id"),
        Index("ix_replicas_ended_at", "ended_at"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id"))
    revision_id: Mapped[str] = mapped_column(ForeignKey("revisions.id"))
    generation: Mapped[int] = mapped_column(default=1)
    """Of the deployment, when the replica was asked for: failures count until the spec changes."""
    instance_id: Mapped[str | None] = mapped_column(ForeignKey("instances.id"), index=True)
    state: Mapped[str] = mapped_column(index=True)
    reason: Mapped[str] = mapped_column(FreeText, default="")
    created_at: Mapped[float]
    updated_at: Mapped[float]
    ready_at: Mapped[float | None] = mapped_column(default=None)
    """When it was ready for the first time."""
    ended_at: Mapped[float | None] = mapped_column(default=None)
    wakes: Mapped[int] = mapped_column(default=0, server_default="0")
    """How often it was told to wake up."""
    retiring: Mapped[str] = mapped_column(FreeText, default="", server_default="")
    """Why it is to be replaced elsewhere, and then to drain; empty: it is not."""
    placed_at: Mapped[float | None] = mapped_column(default=None)
    """When it came to its instance."""


class Start(Base):
    """One line of the cold-start ledger: a replica's start, or one of its wakes."""

    __tablename__ = "starts"
    __table_args__ = (
        UniqueConstraint("replica_id", "wakes"),
        Index("ix_starts_deployment_id", "deployment_id", "id"),
        Index("ix_starts_revision_ready", "revision_id", "ready_at"),
        Index("ix_starts_created_at", "created_at"),
        Index(
            "ix_starts_unclosed",
            "id",
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    replica_id: Mapped[str] = mapped_column(ForeignKey("replicas.id"))
    wakes: Mapped[int]
    """0: the start from nothing."""
    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id"))
    revision_id: Mapped[str]
    instance_id: Mapped[str] = mapped_column(default="")
    instance_type: Mapped[str] = mapped_column(default="")
    zone: Mapped[str] = mapped_column(default="")
    tier: Mapped[str] = mapped_column(default="")
    """`infra.starts.Tier`, the furthest that bytes came from; empty: not known yet."""
    standby: Mapped[bool] = mapped_column(default=False)
    bytes_by_tier: Mapped[dict[str, Any]] = mapped_column(default=dict)
    phases_s: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """`infra.starts.Phase` -> seconds."""
    usd: Mapped[float] = mapped_column(default=0.0)
    """What the instance cost meanwhile."""
    outcome: Mapped[str] = mapped_column(default="")
    """Empty while it starts, then ready or failed"""
    reason: Mapped[str] = mapped_column(FreeText, default="")
    created_at: Mapped[float]
    launched_at: Mapped[float | None] = mapped_column(default=None)
    """When its instance was there, or on its way."""
    ready_at: Mapped[float | None] = mapped_column(default=None)
    closed_at: Mapped[float | None] = mapped_column(default=None)
    """From then on it says all that it ever will."""


class Instance(Leased, Base):
    """A cloud machine with one agent."""

    __tablename__ = "instances"
    __table_args__ = (
        Index(
            "ix_instances_unmetered",
            "id",
            sqlite_where=text("launched_at IS NOT NULL AND metered_at IS NULL"),
            postgresql_where=text("launched_at IS NOT NULL AND metered_at IS NULL"),
        ),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    cloud: Mapped[str]
    cloud_id: Mapped[str] = mapped_column(default="", index=True)
    instance_type: Mapped[str]
    zone: Mapped[str]
    market: Mapped[str]
    usd_per_hour: Mapped[float] = mapped_column(default=0.0)
    state: Mapped[str] = mapped_column(index=True)
    reason: Mapped[str] = mapped_column(FreeText, default="")
    join_token_hash: Mapped[str | None] = mapped_column(unique=True, default=None)
    join_token_expires_at: Mapped[float] = mapped_column(default=0.0)
    assignment_version: Mapped[int] = mapped_column(default=0)
    capabilities: Mapped[dict[str, Any]] = mapped_column(default=dict)
    kept_for: Mapped[str | None] = mapped_column(index=True, default=None)
    """The deployment at zero for which it stays although nothing runs on it."""
    alternatives: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    """Other pools that its launch may take: {"instance_type", "zone", "usd_per_hour"} each."""
    refused: Mapped[bool] = mapped_column(default=False, server_default=false())
    """The cloud had no machine to give, or took it back before all on it served: who waits for it
    is placed anew."""
    warned: Mapped[bool] = mapped_column(default=False, server_default=false())
    """The cloud has said that it may take it back: that counts once."""
    created_at: Mapped[float]
    updated_at: Mapped[float]
    joined_at: Mapped[float | None] = mapped_column(default=None)
    ended_at: Mapped[float | None] = mapped_column(default=None)
    launched_at: Mapped[float | None] = mapped_column(default=None)
    """When it began to cost money; None: never."""
    metered_at: Mapped[float | None] = mapped_column(default=None)
    """When the last of its charges was written; None: there may be more."""


class Pool(Base):
    """What the past of one pool says of its future; counts decay, see
    `control_plane.placement.availability`."""

    __tablename__ = "pools"
    id: Mapped[str] = mapped_column(primary_key=True)
    """cloud/instance type/zone/market"""
    cloud: Mapped[str]
    instance_type: Mapped[str]
    zone: Mapped[str]
    market: Mapped[str]
    at: Mapped[float] = mapped_column(default=0.0)
    """When the counts were last written."""
    launches: Mapped[float] = mapped_column(default=0.0)
    successes: Mapped[float] = mapped_column(default=0.0)
    hours: Mapped[float] = mapped_column(default=0.0)
    losses: Mapped[float] = mapped_column(default=0.0)
    closed_until: Mapped[float] = mapped_column(default=0.0)
    """Nobody asks it for machines before."""


class Quota(Base):
    """Virtual CPUs that an account may have, as its refusals taught."""

    __tablename__ = "quotas"
    id: Mapped[str] = mapped_column(primary_key=True)
    """cloud/region/family/market"""
    cloud: Mapped[str]
    region: Mapped[str]
    family: Mapped[str]
    market: Mapped[str]
    vcpus: Mapped[int] = mapped_column(default=0)
    refusals: Mapped[int] = mapped_column(default=0)
    """In a row: the more there were, the longer the next one is put off."""
    until: Mapped[float] = mapped_column(default=0.0)
    """Then it is tried whether the account may have more."""


class Duty(Leased, Base):
    """What one controller does at a time for all rows together."""

    __tablename__ = "duties"
    id: Mapped[str] = mapped_column(primary_key=True)
    """placement, notices or ledger"""


class Machine(Base):
    """A machine of its owner's that may join, and each time it does becomes an instance of the
    cloud `joined` whose `cloud_id` is this id. The row is there as long as it may."""

    __tablename__ = "machines"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    """Empty until it joins, where nobody chose one."""
    token_hash: Mapped[str | None] = mapped_column(unique=True, default=None)
    """Of the one-time token that lets it in; none once it is in."""
    token_expires_at: Mapped[float]
    credential_hash: Mapped[str | None] = mapped_column(unique=True, default=None)
    """Of the secret that it made for itself; none before it is in."""
    created_at: Mapped[float]


class Operation(Leased, Base):
    """A long side effect. A Celery message carries its id and nothing else."""

    __tablename__ = "operations"
    __table_args__ = (
        CheckConstraint(
            "state IN ('pending', 'running', 'succeeded', 'failed')", name="known_state"
        ),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """launch_instance, terminate_instance, import_model, list_garbage or collect_garbage"""
    subject_id: Mapped[str] = mapped_column(index=True)
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(index=True)
    error: Mapped[str] = mapped_column(FreeText, default="")
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """{"phase": ..., "done_bytes": ..., "total_bytes": ...}"""
    attempts: Mapped[int] = mapped_column(default=0)
    send_after: Mapped[float] = mapped_column(default=0.0)
    """The reconciler sends the message again when this time has passed."""
    deadline_at: Mapped[float]
    created_at: Mapped[float]
    updated_at: Mapped[float]


class Decision(Base):
    """Why something was decided: inputs, formula, reason code, outcome."""

    __tablename__ = "decisions"
    __table_args__ = (
        Index("ix_decisions_deployment_time", "deployment_id", "created_at"),
        Index("ix_decisions_newest", "deployment_id", "kind", "created_at", "id"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id"))
    kind: Mapped[str]
    """scale, rollout, place, provision or budget"""
    reason: Mapped[str]
    formula: Mapped[str]
    inputs: Mapped[dict[str, Any]]
    outcome: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class ApiKey(Base):
    """A secret, known only by `infra.keys.hash_secret`."""

    __tablename__ = "api_keys"
    __table_args__ = (
        Index(
            "ix_api_keys_valid",
            "id",
            sqlite_where=text("revoked_at IS NULL"),
            postgresql_where=text("revoked_at IS NULL"),
        ),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
    tenant: Mapped[str]
    scopes: Mapped[list[str]]
    created_at: Mapped[float]
    revoked_at: Mapped[float | None] = mapped_column(default=None)


class AuditEvent(Base):
    """Who changed what."""

    __tablename__ = "audit_events"
    id: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str]
    action: Mapped[str]
    subject_id: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[float]
