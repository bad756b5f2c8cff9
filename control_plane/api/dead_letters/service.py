"""Jobs of which every attempt was cut off: what they are, and how they are begun again."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.api.context import Context
from control_plane.api.dead_letters.schemas import DeadLetters, Retried, show_letter
from control_plane.api.problem import Problem, not_found
from control_plane.store.repositories import audit, revisions
from infra.durable.retrial import NotRetried, request_of, retry
from infra.queue.queue import DeadLetter, JobQueue


@dataclass(frozen=True, slots=True)
class _Found:
    letter: DeadLetter
    revision_id: str
    deployment: str | None


async def find_all(context: Context, deployment: str | None) -> DeadLetters:
    """Newest first; of one deployment, or of all."""
    found = await _look(context)
    wanted = [each for each in found if deployment is None or each.deployment == deployment]
    wanted.sort(key=lambda each: each.letter.ended_s, reverse=True)
    return DeadLetters(
        data=[show_letter(each.letter, each.revision_id, each.deployment) for each in wanted]
    )


async def begin_again(context: Context, key_id: str, job_id: str) -> Retried:
    """Raises Problem: 404 for an unknown letter, 409 for one that cannot be retried."""
    found = next((each for each in await _look(context) if each.letter.job_id == job_id), None)
    if found is None:
        raise not_found("dead letter", job_id, "tamer dead-letters list")
    if not found.letter.durable:
        raise Problem(
            409,
            "not-durable",
            "the client of this request has gone with its connection; only requests with "
            "'background' or an 'Idempotency-Key' can be retried",
        )
    request_id = request_of(job_id)
    try:
        await retry(context.jobs, context.settings.durable_keep_s, request_id)
    except NotRetried as error:
        raise Problem(409, "not-retried", str(error)) from error
    await JobQueue(context.jobs, found.revision_id).forget_dead_letter(job_id)
    async with context.database.transaction() as session:
        detail = {"request_id": request_id, "revision_id": found.revision_id}
        await audit.record(session, key_id, "dead-letter.retry", job_id, detail)
    return Retried(job_id=job_id, request_id=request_id)


async def _look(context: Context) -> list[_Found]:
    async with context.database.snapshot() as session:
        names = await revisions.deployment_names(session)
    return [
        _Found(letter, revision_id, name)
        for revision_id, name in names.items()
        for letter in await JobQueue(context.jobs, revision_id).dead_letters()
    ]
