from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from control_plane.api.context import CurrentContext
from control_plane.api.health import service

router = APIRouter(tags=["health"])


class Live(BaseModel):
    status: Literal["live"] = "live"


class Ready(BaseModel):
    status: Literal["ready"] = "ready"


@router.get("/livez")
async def livez() -> Live:
    return Live()


@router.get("/readyz")
async def readyz(context: CurrentContext) -> Ready:
    await service.check(context)
    return Ready()
