"""The whole platform with PostgreSQL as its store: what SQLite does on one machine, it does too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.benchmarks.postgres_cluster import PostgresCluster
from tests.control_plane.importer.tiny_model import write_directory
from tests.fixtures.platform import Platform
from tests.fixtures.waiting import block_until

_FIRST_TOKEN = 10
SPEC = {
    "name": "chat",
    "model": "tiny",
    "engine": {
        "kind": "paced",
        "options": {"tokens_per_s": 100.0, "first_token": _FIRST_TOKEN, "vocabulary_size": 80},
    },
    "scaling": {"min_replicas": 1, "max_replicas": 1},
}


@pytest.fixture
def on_postgres(postgres: PostgresCluster, tmp_path: Path) -> Iterator[Platform]:
    database = postgres.create()
    url = postgres.url(database).replace("postgresql://", "postgresql+asyncpg://")
    platform = Platform(tmp_path / "home", first_model=False, TAMER_DATABASE_URL=url)
    platform.start()
    yield platform
    platform.stop()
    platform.api.close()
    postgres.drop(database)


def answer(platform: Platform) -> str:
    reply = platform.openai().chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "hello"}], max_tokens=8
    )
    return str(reply.choices[0].message.content)


def test_it_serves_and_goes_on_after_a_restart(on_postgres: Platform, tmp_path: Path) -> None:
    platform = on_postgres
    source = write_directory(tmp_path / "tiny")
    reply = platform.api.post("/models", json={"name": "tiny", "source": str(source)})
    assert reply.is_success, reply.text

    def imported() -> bool:
        return bool(platform.api.get("/models/tiny").json()["state"] == "ready")

    block_until(imported, "the model is imported")
    platform.deploy(SPEC)
    platform.wait_for("chat", ready=1)
    told = answer(platform)
    assert len(told) == 8

    assert platform.stop() == 0
    platform.start()
    platform.wait_for("chat", ready=1)
    assert answer(platform) == told
    assert platform.api.get("/audit").json()["holds"]
    assert not list(platform.home.glob("*.db"))
