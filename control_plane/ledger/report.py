"""Who cost what: sums of charges, and how tenants share them. They add up to what was charged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control_plane.ledger.charge import NOBODY
from control_plane.ledger.money import MICROS, split

PROMPT_WEIGHT = 1
OUTPUT_WEIGHT = 2
"""What a token counts when tenants share the cost of an hour: as when they share the queue."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a deployment in an hour, over all machines; of `NOBODY` where none used the machine."""

    deployment_id: str
    hour: int
    used_micros: int
    idle_micros: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the jobs of a tenant that ended in an hour had used."""

    deployment_id: str
    tenant: str
    hour: int
    prompt_tokens: int
    output_tokens: int
    jobs: int

    @property
    def weight(self) -> int:
        return PROMPT_WEIGHT * self.prompt_tokens + OUTPUT_WEIGHT * self.output_tokens


@dataclass(slots=True)
class Line:
    """A sum."""

    used_micros: int = 0
    idle_micros: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    jobs: int = 0

    @property
    def total_micros(self) -> int:
        return self.used_micros + self.idle_micros

    @property
    def usd_per_million_tokens(self) -> float | None:
        """Of prompts and outputs together, idle time included; None where there were none."""
        tokens = self.prompt_tokens + self.output_tokens
        return self.total_micros / tokens if tokens else None

    @property
    def usd(self) -> float:
        return self.total_micros / MICROS

    def add(self, other: Line) -> None:
        self.used_micros += other.used_micros
        self.idle_micros += other.idle_micros
        self.prompt_tokens += other.prompt_tokens
        self.output_tokens += other.output_tokens
        self.jobs += other.jobs

    def count(self, tokens: Tokens) -> None:
        self.prompt_tokens += tokens.prompt_tokens
        self.output_tokens += tokens.output_tokens
        self.jobs += tokens.jobs


Lines = Mapping[str, Line]


def by_tenant(costs: Iterable[Cost], tokens: Iterable[Tokens]) -> Lines:
    """A deployment's hour is shared by the tokens that tenants used in it; `NOBODY` has the hours
    in which none did."""
    lines: defaultdict[str, Line] = defaultdict(Line)
    users: defaultdict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for each in tokens:
        lines[each.tenant].count(each)
        own = users[each.deployment_id, each.hour]
        own[each.tenant] = own.get(each.tenant, 0) + each.weight
    for cost in costs:
        weights = users.get((cost.deployment_id, cost.hour), {})
        weights = weights if sum(weights.values()) else {NOBODY: 1}
        for tenant, micros in split(cost.used_micros, weights).items():
            lines[tenant].used_micros += micros
        for tenant, micros in split(cost.idle_micros, weights).items():
            lines[tenant].idle_micros += micros
    return lines
