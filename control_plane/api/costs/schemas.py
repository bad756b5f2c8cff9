from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel

from control_plane.ledger.money import MICROS
from control_plane.ledger.report import Line


class By(StrEnum):
    DEPLOYMENT = "deployment"
    TENANT = "tenant"
    INSTANCE = "instance"
    DAY = "day"


class CostLine(BaseModel):
    id: str
    """Of a deployment or an instance, a tenant's name, or a day in UTC; empty: of nobody, machines
    that no replica was ever on, or hours in which no tenant asked for anything."""
    name: str
    """For people."""
    usd: float
    """Used and idle together."""
    used_usd: float
    idle_usd: float
    """Of device slots that nobody used."""
    prompt_tokens: int
    output_tokens: int
    jobs: int
    """That ended, of those that ran."""
    usd_per_million_tokens: float | None
    """Of prompts and outputs together, idle time included; null where there were none."""
    billed_s: float | None = None
    """Of an instance."""


class Costs(BaseModel):
    by: By
    since: float
    """The beginning of an hour."""
    until: float
    deployment: str | None
    """The name of the only one that is told of."""
    lines: list[CostLine]
    """They add up to the total."""
    total: CostLine


def show_line(id: str, name: str, line: Line) -> CostLine:
    return CostLine(
        id=id,
        name=name,
        usd=line.usd,
        used_usd=line.used_micros / MICROS,
        idle_usd=line.idle_micros / MICROS,
        prompt_tokens=line.prompt_tokens,
        output_tokens=line.output_tokens,
        jobs=line.jobs,
        usd_per_million_tokens=line.usd_per_million_tokens,
    )
