"""Who goes next: stage, class, tenant, job. The one specification of the queue's order.

The Lua functions of `infra/queue` do the same on sorted sets; property tests hold the two together,
and the simulator runs this one.

* Class: each job has a position, its time of acceptance plus `AGEING_MS` for each class below the
  first. The class whose foremost job has the least position goes next, so a low class waits longer
  but never for ever (ageing, without ever recomputing anything).
* Tenant: within the class, the tenant who has been served least (virtual token counter; Sheng et
  al., "Fairness in Serving Large Language Models", OSDI 2024).
* Job: within the tenant, the least position; equal positions by id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

AGEING_MS = 60_000
"""How much later a job of the next lower class may be treated as if it had come."""
CLASSES = 4
"""Priority classes, 0 (first) to CLASSES - 1."""
PROMPT_WEIGHT = 1
OUTPUT_WEIGHT = 2
"""What a prompt token and an output token add to a tenant's counter (the weights of VTC)."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job, as far as the order is concerned."""

    job_id: str
    tenant: str
    priority: int
    accepted_ms: int
    cost_tokens: int = 0

    @property
    def position(self) -> int:
        return position_ms(self.accepted_ms, self.priority)


def position_ms(accepted_ms: int, priority: int) -> int:
    """Where a job stands; the same for its whole life, re-offers included."""
    return accepted_ms + priority * AGEING_MS


def foremost(waiting: Iterable[Waiting], served: Mapping[str, int]) -> Waiting | None:
    """The job that goes next, or None. `served` holds the tenants' counters (absent: 0)."""
    jobs = list(waiting)
    if not jobs:
        return None
    priority = min(jobs, key=lambda job: (job.position, job.priority)).priority
    of_class = [job for job in jobs if job.priority == priority]
    tenant = min({job.tenant for job in of_class}, key=lambda name: (served.get(name, 0), name))
    return min(
        (job for job in of_class if job.tenant == tenant),
        key=lambda job: (job.position, job.job_id),
    )


def next_jobs(
    inbox: Iterable[Waiting],
    shared: Iterable[Waiting],
    served: Mapping[str, int],
    prompt_tokens: Mapping[str, int],
    max_jobs: int,
    max_tokens: int,
) -> list[Waiting]:
    """What one lease call hands out: its own inbox first, then shared; each job is charged to its
    tenant as it is taken. A head job that does not fit holds its place, so nothing behind it is
    handed out either."""
    own, common, counters = list(inbox), list(shared), dict(served)
    taken: list[Waiting] = []
    room = max_tokens
    while len(taken) < max_jobs:
        source = own if own else common
        job = foremost(source, counters)
        if job is None or job.cost_tokens > room:
            break
        source.remove(job)
        room -= job.cost_tokens
        counters[job.tenant] = counters.get(job.tenant, 0) + charge(prompt_tokens[job.job_id], 0)
        taken.append(job)
    return taken


def charge(prompt_tokens: int, output_tokens: int) -> int:
    """What a tenant pays on its virtual counter."""
    return PROMPT_WEIGHT * prompt_tokens + OUTPUT_WEIGHT * output_tokens


def counter_on_return(own: int, active: Iterable[int]) -> int:
    """The counter of a tenant who had nothing queued and now has: lifted to the least of the
    tenants who waited meanwhile, so that idleness earns no credit."""
    return max(own, min(active, default=own))
