"""Remove from the store of models what no model and no revision uses, or only list it."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from control_plane.store.repositories import garbage
from control_plane.store.repositories.operations import OperationKind, OperationState
from control_plane.tasks.claim import Claim
from infra.settings import Settings
from infra.storage.base import Storage, StorageAway, StorageError
from infra.storage.opening import open_storage

_DIGEST = re.compile(r"[0-9a-f]{64}")
"""What an import stores a model under. Whatever else lies there is not ours to remove."""
_LISTED = 200
"""Entries that the operation names; it counts them all."""


async def collect_garbage(claim: Claim, settings: Settings) -> None:
    """Tells what was removed, or would be: `found` (digest and size of each), `found_count` and
    `found_bytes`.

    Raises:
        StorageAway: the store does not answer; what was done stays done.
    """
    removing = claim.operation.kind == OperationKind.COLLECT_GARBAGE
    claim.progress("look", 0, 0)
    try:
        storage = await asyncio.to_thread(open_storage, settings)
        found = await _find(claim, storage)
        if removing:
            found = await _remove(claim, storage, found)
            await _sweep_downloads(settings)
    except StorageAway:
        raise
    except StorageError as error:
        async with claim.outcome(OperationState.FAILED, str(error)):
            return
    claim.tell(
        found=found[:_LISTED],
        found_count=len(found),
        found_bytes=_size_bytes(found),
    )
    async with claim.outcome(OperationState.SUCCEEDED):
        return


async def _find(claim: Claim, storage: Storage) -> list[dict[str, Any]]:
    keys = [key for key in await asyncio.to_thread(storage.keys) if _DIGEST.fullmatch(key)]
    async with claim.database.snapshot() as session:
        used = await garbage.digests_in_use(session)
    found = []
    for key in keys:
        if key not in used:
            claim.check()
            size_bytes = await asyncio.to_thread(storage.size_bytes, key)
            found.append({"digest": key, "size_bytes": size_bytes})
    return found


async def _remove(claim: Claim, storage: Storage, found: list[dict[str, Any]]) -> list[Any]:
    """Returns what was removed."""
    removed: list[dict[str, Any]] = []
    for each in found:
        claim.progress("remove", _size_bytes(removed), _size_bytes(found))
        async with claim.database.transaction() as session:
            await claim.still_ours(session)
            used = await garbage.digests_in_use(session)
        if each["digest"] not in used:  # it may be imported again since we looked
            await asyncio.to_thread(storage.delete, each["digest"])
            removed.append(each)
    claim.progress("remove", _size_bytes(removed), _size_bytes(removed))
    return removed


def _size_bytes(found: list[dict[str, Any]]) -> int:
    return sum(each["size_bytes"] for each in found)


async def _sweep_downloads(settings: Settings) -> None:
    """What imports that failed had fetched; those that run hold theirs."""
    from control_plane.importer.download_folder import sweep

    await asyncio.to_thread(sweep, settings.downloads_dir)
