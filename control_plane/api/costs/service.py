from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.costs.schemas import By, CostLine, Costs, show_line
from control_plane.api.problem import not_found
from control_plane.ledger.billing import HOUR_S
from control_plane.ledger.charge import NOBODY
from control_plane.ledger.report import Line, Lines, by_tenant
from control_plane.store.clock import read_clock
from control_plane.store.repositories import charges, cost_sums, deployments, token_counts
from infra.periods import date

_DAY_S = 86_400


async def costs(session: AsyncSession, by: By, since_s: float, name: str | None) -> Costs:
    """What the hours since then cost, split one way.

    Args:
        name: of the only deployment to tell of, and of those before it of the same name.

    Raises:
        Problem: 404, there never was such a deployment.
    """
    now = await read_clock(session)
    since = int((now - since_s) // HOUR_S) * HOUR_S
    deployment_ids = await _ids_of(session, name)
    within = since, now, deployment_ids
    if by is By.INSTANCE:
        lines, total = await _of_instances(session, *within)
    else:
        found = await _SPLITS[by](session, *within)
        lines, total = await _named(session, by, found), _sum(found.values())
    return Costs(
        by=by,
        since=since,
        until=now,
        deployment=name,
        lines=lines,
        total=show_line("total", "total", total),
    )


async def _ids_of(session: AsyncSession, name: str | None) -> Collection[str] | None:
    """Of all that had the name: one that was deleted and made again is one to whoever pays."""
    if name is None:
        return None
    found = await deployments.ids_named(session, [name])
    if not found:
        raise not_found("deployment", name, "tamer cost")
    return found[name]


async def _of_instances(
    session: AsyncSession, since: int, until: float, deployment_ids: Collection[str] | None
) -> tuple[list[CostLine], Line]:
    """Tokens are not counted by machine: they stand in the total alone."""
    lines = []
    for each in await charges.by_instance(session, since, until, deployment_ids):
        name = f"{each.instance_type} {each.zone} {each.market}"
        shown = show_line(each.instance_id, name, Line(each.used_micros, each.idle_micros))
        lines.append(shown.model_copy(update={"billed_s": each.seconds}))
    whole = await cost_sums.by_deployment(session, since, until, deployment_ids)
    return _dearest_first(lines), _sum(whole.values())


async def _by_tenant(
    session: AsyncSession, since: int, until: float, deployment_ids: Collection[str] | None
) -> Lines:
    """Each hour is shared by itself, to the last millionth. It is done a day at a time, so that
    others are served between."""
    lines: defaultdict[str, Line] = defaultdict(Line)
    for begin in range(since, int(until) + 1, _DAY_S):
        within = begin, min(until, begin + _DAY_S), deployment_ids
        hours = await charges.by_hour(session, *within)
        tokens = await token_counts.by_hour(session, *within)
        for tenant, line in (await asyncio.to_thread(by_tenant, hours, tokens)).items():
            lines[tenant].add(line)
    return lines


def _sum(lines: Iterable[Line]) -> Line:
    total = Line()
    for each in lines:
        total.add(each)
    return total


async def _named(session: AsyncSession, by: By, found: Lines) -> list[CostLine]:
    if by is By.DAY:
        ordered = sorted((int(begin), line) for begin, line in found.items())
        return [show_line(date(begin), date(begin), line) for begin, line in ordered]
    names = await deployments.names(session, set(found)) if by is By.DEPLOYMENT else {}
    lines = [show_line(id, names.get(id, id), line) for id, line in found.items()]
    return _dearest_first(lines)


def _dearest_first(lines: list[CostLine]) -> list[CostLine]:
    """What is nobody's is told last."""
    return sorted(lines, key=lambda line: (line.id == NOBODY, -line.usd, line.name))


_SPLITS = {
    By.DEPLOYMENT: cost_sums.by_deployment,
    By.TENANT: _by_tenant,
    By.DAY: cost_sums.by_day,
}
