"""Whatever is sent to the API, it answers as its OpenAPI document says, and never with a 5xx."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI

from infra.settings import Settings
from tests.control_plane.api.conftest import ADMIN_KEY, MakeModel
from tests.fixtures.database import on_sqlite_alone
from tests.fixtures.schemathesis import fuzz
from tests.fixtures.served import served

pytestmark = on_sqlite_alone


async def test_every_answer_is_one_that_the_document_describes(
    app: FastAPI, settings: Settings, make_model: MakeModel, tmp_path: Path
) -> None:
    await make_model()
    async with served(app, settings, lifespan=False) as server:
        await fuzz(app.openapi(), server.url, ADMIN_KEY, tmp_path)
