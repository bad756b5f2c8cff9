"""Promise 1, counted: every accepted job has ended with a reason or is pending."""

from __future__ import annotations

from control_plane.api.audit.schemas import Audit, BalanceShown, DifferenceShown, QueueAudit
from control_plane.api.context import Context
from control_plane.store.repositories import revisions
from infra.queue.queue import base_key
from infra.queue.recount import NOTHING, Recount, recount


async def audit(context: Context) -> Audit:
    async with context.database.snapshot() as session:
        names = await revisions.deployment_names(session)
    found = await recount(context.jobs, [base_key(revision_id) for revision_id in names])
    queues = [
        _queue(revision_id, name, found[base_key(revision_id)])
        for revision_id, name in names.items()
        if base_key(revision_id) in found
    ]
    total = sum((each.balance for each in found.values()), NOTHING)
    return Audit(
        queues=queues,
        total=BalanceShown.model_validate(total),
        holds=all(each.holds for each in queues),
    )


def _queue(revision_id: str, deployment: str | None, found: Recount) -> QueueAudit:
    return QueueAudit(
        revision_id=revision_id,
        deployment=deployment,
        balance=BalanceShown.model_validate(found.balance),
        differences=[DifferenceShown.model_validate(each) for each in found.differences],
        holds=found.holds,
    )
