from __future__ import annotations

from pydantic import BaseModel, Field

from infra.queue.queue import DeadLetter


class DeadLetterShown(BaseModel):
    job_id: str
    deployment: str | None
    revision_id: str
    tenant: str
    attempts: int
    cause: str = Field(description="How the last attempt ended, and on which replica.")
    durable: bool = Field(description="Only these can be retried: of others the client is gone.")
    accepted_at: float = Field(description="Epoch seconds, by the clock of Redis.")
    ended_at: float


class DeadLetters(BaseModel):
    data: list[DeadLetterShown]


class Retried(BaseModel):
    job_id: str
    request_id: str = Field(description="The completion that goes on.")


def show_letter(letter: DeadLetter, revision_id: str, deployment: str | None) -> DeadLetterShown:
    return DeadLetterShown(
        job_id=letter.job_id,
        deployment=deployment,
        revision_id=revision_id,
        tenant=letter.tenant,
        attempts=letter.attempts,
        cause=letter.cause,
        durable=letter.durable,
        accepted_at=letter.accepted_s,
        ended_at=letter.ended_s,
    )
