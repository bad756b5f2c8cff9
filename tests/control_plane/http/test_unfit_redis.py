"""A process of ours that is given a Redis which would lose jobs ends at once, with one line."""

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
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TAMER_")},
        "TAMER_HOME": str(tmp_path),
        "TAMER_JOBS_URL": evicting_url,
        "TAMER_PORT": "0",
    }
    ended = subprocess.run(
        [sys.executable, "-m", module],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = (ended.stdout + ended.stderr).splitlines()
    assert ended.returncode not in (0, None)
    assert len(said) == 1
    assert "allkeys-lru" in said[0]
    assert "noeviction" in said[0]
    assert not (tmp_path / "tamer.db").exists()
