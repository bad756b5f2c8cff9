"""Carry out one operation: claim, work, outcome; then tell the controller."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from control_plane.store.repositories import imports, operations
from control_plane.store.repositories.operations import OperationKind, OperationState
from control_plane.store.session import Database
from control_plane.store.tables import Operation
from control_plane.tasks.claim import Claim, ClaimLost, Interrupted
from control_plane.tasks.garbage import collect_garbage
from control_plane.tasks.launch import launch_instance, terminate_instance
from control_plane.tasks.metrics import OPERATION_DURATION
from control_plane.tasks.model_import import import_into_store
from infra.cloud import open_cloud
from infra.cloud.base import Cloud, CloudError
from infra.connection import connect
from infra.registry import ring_controller
from infra.settings import Settings
from infra.storage.base import StorageAway
from infra.telemetry import logger

_LONGEST_PAUSE_S = 30.0
_MOST_DOUBLINGS = 16
"""Beyond the longest pause in any case; a launch may wait for its cloud for thousands of attempts,
and a float ends at a thousand doublings."""
_CRASH_LIMIT = 5
"""Attempts that may end in an error that nobody foresaw."""

log = logger(__name__)


async def execute(
    operation_id: str,
    settings: Settings,
    stopping: threading.Event,
    cloud_of: Callable[[Settings], Cloud] = open_cloud,
) -> None:
    """Do what the operation says, if it is ours to do; a second message for it does nothing."""
    database = Database(settings)
    try:
        async with database.transaction() as session:
            claimed = await operations.claim(session, operation_id, settings.row_lease_s)
        if claimed is None:
            log.info("operation is done or taken", operation_id=operation_id)
            return
        operation, token = claimed
        claim = Claim(database, operation, token, settings.row_lease_s, stopping)
        await _attempt(claim, settings, cloud_of)
    finally:
        await database.close()
    await _ring(settings)


async def _attempt(claim: Claim, settings: Settings, cloud_of: Callable[[Settings], Cloud]) -> None:
    operation = claim.operation
    said = log.bind(
        operation_id=operation.id,
        kind=operation.kind,
        subject_id=operation.subject_id,
        attempt=operation.attempts,
    )
    began_s = time.monotonic()
    ended = asyncio.Event()
    keeping = asyncio.create_task(claim.keep(ended))
    try:
        await _work(claim, settings, cloud_of)
        said.info("operation ended")
    except ClaimLost:
        said.warning("operation was taken over; this attempt counts for nothing")
    except Interrupted as error:
        said.info("operation given back", reason=str(error))
        await claim.give_back(str(error), pause_s=0.0)
    except CloudError as error:
        said.warning("cloud error", error=str(error), retryable=error.retryable)
        # A cloud that is away, or does not know us, refuses everything: no launch is late by that.
        allow_s = settings.operation_limit_s if _launches(operation) else 0.0
        again = error.retryable or _terminates(operation)
        await _after_error(claim, str(error), again=again, allow_s=allow_s)
    except StorageAway as error:
        said.warning("storage error", error=str(error))
        await _after_error(claim, str(error), again=operation.attempts < _CRASH_LIMIT)
    except Exception as error:  # noqa: BLE001 - whatever it was, the row must learn of it
        said.exception("operation failed")
        again = operation.attempts < _CRASH_LIMIT or _terminates(operation)
        await _after_error(claim, repr(error), again=again)
    finally:
        ended.set()
        await keeping
        elapsed_s = time.monotonic() - began_s
        OPERATION_DURATION.labels(operation.kind, claim.ended_as).observe(elapsed_s)


async def _work(claim: Claim, settings: Settings, cloud_of: Callable[[Settings], Cloud]) -> None:
    kind = OperationKind(claim.operation.kind)
    if kind in operations.MAKES_MODEL:
        await import_into_store(claim, settings)
        return
    if kind in (OperationKind.LIST_GARBAGE, OperationKind.COLLECT_GARBAGE):
        await collect_garbage(claim, settings)
        return
    cloud = cloud_of(settings)
    try:
        if kind is OperationKind.LAUNCH_INSTANCE:
            await launch_instance(claim, cloud, settings)
        else:
            await terminate_instance(claim, cloud)
    finally:
        await cloud.close()


async def _after_error(claim: Claim, error: str, *, again: bool, allow_s: float = 0.0) -> None:
    if again:
        doublings = min(claim.operation.attempts - 1, _MOST_DOUBLINGS)
        pause_s = min(2.0**doublings, _LONGEST_PAUSE_S)
        await claim.give_back(error, pause_s, allow_s)
        return
    try:
        async with claim.outcome(OperationState.FAILED, error) as session:
            if claim.operation.kind in operations.MAKES_MODEL:
                await imports.fail(session, claim.operation.subject_id, error)
    except ClaimLost:
        log.warning("operation was taken over", operation_id=claim.operation.id)


def _launches(operation: Operation) -> bool:
    return operation.kind == OperationKind.LAUNCH_INSTANCE.value


def _terminates(operation: Operation) -> bool:
    """What costs money is never given up: a termination that failed is asked for anew, so a refusal
    that ended it would be repeated without a pause."""
    return operation.kind == OperationKind.TERMINATE_INSTANCE.value


async def _ring(settings: Settings) -> None:
    jobs = connect(settings.jobs)
    try:
        await ring_controller(jobs)
    finally:
        await jobs.aclose()
