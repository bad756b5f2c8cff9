from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import FileResponse

from control_plane.api.context import CurrentContext
from control_plane.api.model_files import service
from control_plane.api.model_files.access import RunDigest

router = APIRouter(prefix="/model-files", tags=["machines"])
"""Open to machines that joined; no key."""


@router.get("/{digest}/{name}", response_class=FileResponse)
async def read_model_file(digest: RunDigest, name: str, context: CurrentContext) -> FileResponse:
    """One file of a stored model, or (with Range) a part of it."""
    path = await asyncio.to_thread(service.find_file, context.settings, digest, name)
    return FileResponse(path, media_type="application/octet-stream")
