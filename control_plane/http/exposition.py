"""`GET /metrics` on a served port: for whoever holds an admin key, since it tells every tenant's
traffic. The application that includes it guards it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from infra.metrics.registry import CONTENT_TYPE, render

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
def metrics() -> Response:
    return Response(render(), headers={"content-type": CONTENT_TYPE})
