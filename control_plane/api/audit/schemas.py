from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class BalanceShown(BaseModel):
    """Jobs: accepted = completed + failed + cancelled + expired + pending, where it holds."""

    model_config = ConfigDict(from_attributes=True)
    accepted: int
    completed: int
    failed: int
    cancelled: int
    expired: int
    pending: int
    missing: int
    """Accepted jobs of which nothing is known."""


class DifferenceShown(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    name: str
    counted: int
    """What the counter says."""
    found: int
    """What is there."""


class QueueAudit(BaseModel):
    revision_id: str
    deployment: str | None
    """Name of the deployment whose revision it is or was; null where none is known."""
    balance: BalanceShown
    differences: list[DifferenceShown]
    """Counters of pending jobs that do not say what is there."""
    holds: bool


class Audit(BaseModel):
    queues: list[QueueAudit]
    """Of every revision, live or not, whose queue was ever used."""
    total: BalanceShown
    holds: bool
