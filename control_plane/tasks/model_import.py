"""Import a model in a thread, telling how far it is."""

from __future__ import annotations

import asyncio

import msgspec

from control_plane.store.repositories import imports
from control_plane.store.repositories.operations import OperationState
from control_plane.tasks.claim import Claim
from infra.settings import Settings
from infra.storage.directory import path_of


async def import_into_store(claim: Claim, settings: Settings) -> None:
    """Import the model that the operation names, and write what it is into its row.

    A source that is refused fails the operation and the model with the importer's own words.
    """
    # The importer brings numpy and tokenizers: only an import should wait for them.
    from control_plane.importer.errors import ImportRefused
    from control_plane.importer.model import import_model

    model_id = claim.operation.subject_id
    async with claim.database.snapshot() as session:
        source = await imports.source_of(session, model_id)
    if source is None:  # imported by an attempt that could not say so, or deleted
        async with claim.outcome(OperationState.SUCCEEDED):
            return
    try:
        imported = await asyncio.to_thread(
            import_model, source, path_of(settings.storage), claim.progress
        )
    except ImportRefused as error:
        async with claim.outcome(OperationState.FAILED, str(error)) as session:
            await imports.fail(session, model_id, str(error))
        return
    async with claim.outcome(OperationState.SUCCEEDED) as session:
        await imports.complete(session, model_id, msgspec.structs.asdict(imported))
