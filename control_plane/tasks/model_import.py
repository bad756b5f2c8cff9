"""Import or pack a model in a thread, telling how far it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from control_plane.store.repositories import imports, operations
from control_plane.store.repositories.operations import OperationKind, OperationState
from control_plane.tasks.claim import Claim
from infra.settings import Settings
from infra.storage.base import StorageError
from infra.storage.opening import local_path, open_storage

if TYPE_CHECKING:
    from control_plane.importer.model import ImportedModel

_LOOK_EVERY_S = 0.1


async def import_into_store(claim: Claim, settings: Settings) -> None:
    """Make the model that the operation names, and write what it is into its row.

    A source that is refused fails the operation and the model with the importer's own words.
    """
    # The importer brings numpy and tokenizers: only an import should wait for them.
    from control_plane.importer.errors import ImportRefused
    from control_plane.importer.model import import_model, pack_model
    from control_plane.importer.packing.request import Packing
    from control_plane.importer.source import Reach

    model_id = claim.operation.subject_id
    async with claim.database.snapshot() as session:
        wanted = await imports.wanted(session, model_id)
    if wanted is None:  # imported by an attempt that could not say so, or deleted
        async with claim.outcome(OperationState.SUCCEEDED):
            return
    loop = asyncio.get_running_loop()

    def reserve(digest: str) -> None:
        asyncio.run_coroutine_threadsafe(_reserve(claim, model_id, digest), loop).result()

    def work() -> ImportedModel:
        store, packing = open_storage(settings), msgspec.convert(wanted.packing, Packing)
        if wanted.of_uri:
            tree = local_path(wanted.of_uri, settings)
            return pack_model(tree, wanted.source, store, packing, claim.progress, reserve)
        reach = Reach.of(settings)
        return import_model(wanted.source, store, claim.progress, reach, reserve, packing)

    try:
        imported = await asyncio.to_thread(work)
    except (ImportRefused, StorageError) as error:
        async with claim.outcome(OperationState.FAILED, str(error)) as session:
            await imports.fail(session, model_id, str(error))
        return
    async with claim.outcome(OperationState.SUCCEEDED) as session:
        await imports.complete(session, model_id, msgspec.structs.asdict(imported))


async def _reserve(claim: Claim, model_id: str, digest: str) -> None:
    """Keep the digest from being collected, and wait for a collection that may not have seen that
    (`repositories.garbage`)."""
    async with claim.database.transaction() as session:
        await claim.still_ours(session)
        await imports.reserve(session, model_id, digest)
    while True:
        async with claim.database.snapshot() as session:
            if not await operations.is_worked_on(session, OperationKind.COLLECT_GARBAGE):
                return
        claim.progress("wait", 0, 0)
        await asyncio.sleep(_LOOK_EVERY_S)
