"""A process that is given a Redis which would lose jobs, or no Redis, ends with one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from infra.embedded import EmbeddedValkey


@pytest.fixture
def evicting_url(tmp_path: Path) -> Iterator[str]:
    valkey = EmbeddedValkey(tmp_path / "evicts.sock", data_dir=None)
    valkey.start()
    client = redis.Redis(unix_socket_path=str(valkey.socket))
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.close()
    yield valkey.url
    valkey.stop()


@pytest.mark.parametrize(
    "module", ["control_plane.gateway", "control_plane.api", "control_plane.controller"]
)
def test_a_process_refuses_a_redis_that_evicts(
    evicting_url: str, tmp_path: Path, module: str
) -> None:
    said = last_words(module, tmp_path, TAMER_JOBS_URL=evicting_url)
    assert "allkeys-lru" in said
    assert "noeviction" in said
    assert not (tmp_path / "tamer.db").exists()


@pytest.mark.parametrize(
    "module",
    ["control_plane.gateway", "control_plane.controller", "control_plane.tasks", "worker.agent"],
)
def test_a_process_refuses_a_url_that_is_none_without_repeating_its_password(
    tmp_path: Path, module: str
) -> None:
    said = last_words(module, tmp_path, TAMER_JOBS_URL="redis+sentinel://:secret-word@host:26379")
    assert said.startswith("TAMER_JOBS_URL: ")
    assert "host:port/MASTER" in said
    assert "secret-word" not in said


def test_a_broker_is_one_plain_server(tmp_path: Path) -> None:
    said = last_words("control_plane.tasks", tmp_path, TAMER_BROKER_URL="redis+cluster://host")
    assert said.startswith("TAMER_BROKER_URL: the broker of Celery is one plain server")


def last_words(module: str, home: Path, **settings: str) -> str:
    """The only line of a process that does not start."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TAMER_")}
    ended = subprocess.run(
        [sys.executable, "-m", module],
        env={**inherited, "TAMER_HOME": str(home), "TAMER_PORT": "0", **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode not in (0, None)
    [said] = (ended.stdout + ended.stderr).splitlines()
    return said
