"""The embedded Valkey: what it keeps, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from infra.embedded import EmbeddedServerError, EmbeddedValkey, server_command
from tests.fixtures.processes import alive
from tests.fixtures.waiting import block_until

_LARGE_BYTES = 8 << 20
_LARGE_WRITES = 32
_LONGER_THAN_ITS_PAUSE_S = 1.5


def client(server: EmbeddedValkey) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(server.socket))


def test_what_was_acknowledged_survives_kill_and_restart(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / "v.sock", tmp_path / "data", tmp_path / "v.log")
    server.start()
    with client(server) as first:
        for number in range(100):
            assert first.set(f"key-{number}", number)
    server.kill()
    assert not server.running()
    server.start()
    with client(server) as second:
        assert second.dbsize() == 100
        assert second.get("key-99") == b"99"
    server.stop()
    assert not server.socket.exists()


def test_what_was_acknowledged_survives_kill_while_the_disk_is_slow(tmp_path: Path) -> None:
    """An fsync that has much to write takes long, and a server that syncs every second by itself
    keeps in its own memory what it acknowledges meanwhile."""
    server = EmbeddedValkey(tmp_path / "v.sock", tmp_path / "data", tmp_path / "v.log")
    server.start()
    with client(server) as first:
        first.config_set("auto-aof-rewrite-percentage", 0)
        _keep_disk_busy(first)
        for number in range(100):
            assert first.set(f"key-{number}", number)
    server.kill()
    server.start()
    with client(server) as second:
        found = [second.get(f"key-{number}") for number in range(100)]
    server.stop()
    assert found == [str(number).encode() for number in range(100)]


def _keep_disk_busy(redis: redis.Redis) -> None:
    """Give the server much to sync until it does, or for longer than it would go without."""
    value = os.urandom(_LARGE_BYTES)
    until = time.monotonic() + _LONGER_THAN_ITS_PAUSE_S
    written = 0
    while time.monotonic() < until and not redis.info("persistence")["aof_pending_bio_fsync"]:
        if written < _LARGE_WRITES:
            redis.set("large", value)
            written += 1


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / "v.sock", None)
    server.start()
    with client(server) as first:
        first.set("key", 1)
    server.stop()
    server.start()
    with client(server) as second:
        assert second.dbsize() == 0
    server.stop()
    assert sorted(tmp_path.iterdir()) == []


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    socket = tmp_path / "v.sock"
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom infra.embedded import EmbeddedValkey\n"
        "server = EmbeddedValkey(Path(sys.argv[1]), None)\nserver.start()\n"
        "print(server.pid, flush=True)\ntime.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(socket)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    block_until(lambda: not alive(pid), "the server ends with its parent")


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = EmbeddedValkey(tmp_path / "v.sock", data, tmp_path / "v.log")
    (data / "appendonlydir").mkdir(parents=True)
    (data / "appendonlydir" / "appendonly.aof.manifest").write_text("not a manifest\n")
    with pytest.raises(EmbeddedServerError, match="ended with code 1"):
        server.start()
    assert not server.running()


def test_a_path_too_long_for_a_socket_is_refused_by_length(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="107 bytes"):
        server_command(tmp_path / ("x" * 120), None)
