"""`/livez`: the process runs. `/readyz`: it can serve. Neither needs a key."""

from __future__ import annotations

from fastapi import APIRouter, Request

from control_plane.gateway.services import Services

router = APIRouter()


@router.get("/livez")
async def live() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz")
async def ready(request: Request) -> dict[str, str]:
    services: Services = request.app.state.gateway
    await services.check_ready()
    return {"status": "ok"}
