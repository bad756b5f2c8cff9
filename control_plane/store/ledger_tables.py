"""The tables of the ledger. Money is whole millionths of a US dollar, hours are named by their
first epoch second; rows are written over, never added to: writing them again changes nothing."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.store.tables import Base


class PoolPrice(Base):
    """What a machine of a pool has cost from then on."""

    __tablename__ = "pool_prices"
    pool_id: Mapped[str] = mapped_column(primary_key=True)
    """As `Pool.id`."""
    since: Mapped[float] = mapped_column(primary_key=True)
    usd_per_hour: Mapped[float]


class InstanceCharge(Base):
    """What an instance cost in an hour."""

    __tablename__ = "charges"
    instance_id: Mapped[str] = mapped_column(ForeignKey("instances.id"), primary_key=True)
    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    seconds: Mapped[float]
    """Billed."""
    machine_micros: Mapped[int] = mapped_column(BigInteger)
    extra_micros: Mapped[int] = mapped_column(BigInteger)
    """Of disks and addresses."""


class ChargeShare(Base):
    """Whose a charge is; together they are the charge."""

    __tablename__ = "charge_shares"
    __table_args__ = (
        Index("ix_charge_shares_hour", "hour"),
        Index("ix_charge_shares_deployment_hour", "deployment_id", "hour"),
    )
    instance_id: Mapped[str] = mapped_column(ForeignKey("instances.id"), primary_key=True)
    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    deployment_id: Mapped[str] = mapped_column(primary_key=True)
    """Empty: nobody used the machine in that hour."""
    slot_seconds: Mapped[float]
    used_micros: Mapped[int] = mapped_column(BigInteger)
    idle_micros: Mapped[int] = mapped_column(BigInteger)
    """Its part of slots that nobody used."""


class TokenCount(Base):
    """What the jobs of a tenant that ended in an hour had used, as the queue of a revision says."""

    __tablename__ = "token_counts"
    __table_args__ = (
        Index("ix_token_counts_hour", "hour"),
        Index("ix_token_counts_deployment_hour", "deployment_id", "hour"),
        Index("ix_token_counts_tenant_hour", "tenant", "hour"),
    )
    revision_id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(primary_key=True)
    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """By Redis's clock."""
    epoch: Mapped[str] = mapped_column(primary_key=True)
    """Of the Redis that counted: one that came back empty counts from 0."""
    deployment_id: Mapped[str]
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    jobs: Mapped[int] = mapped_column(BigInteger)


class TenantBudget(Base):
    """What a tenant may spend."""

    __tablename__ = "tenant_budgets"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    usd_per_day: Mapped[float | None] = mapped_column(default=None)
    usd_per_month: Mapped[float | None] = mapped_column(default=None)
    updated_at: Mapped[float]


class Spending(Base):
    """What a deployment or a tenant with a budget has spent, as last summed up."""

    __tablename__ = "spendings"
    id: Mapped[str] = mapped_column(primary_key=True)
    """deployment/ID or tenant/NAME"""
    day: Mapped[int] = mapped_column(BigInteger)
    """Its first second, in UTC."""
    day_micros: Mapped[int] = mapped_column(BigInteger)
    month: Mapped[int] = mapped_column(BigInteger)
    month_micros: Mapped[int] = mapped_column(BigInteger)
    stage: Mapped[str] = mapped_column(default="open")
    """`ledger.budget.Stage` when it was summed up: what was told of it."""
    updated_at: Mapped[float]
