"""`tamer doctor` finds what is wrong and says what to type."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from control_plane.cli.doctor.redis import what_it_may_lose
from control_plane.cli.exits import ExitCode
from infra.embedded import EmbeddedValkey
from tests.control_plane.cli.stub_answers import Tamer, page
from tests.control_plane.cli.stub_server import StubServer
from tests.fixtures.valkey_cluster import ValkeyCluster

TOTAL = {"accepted": 1, "pending": 0}
CHAT = {"name": "chat", "state": "ready", "reason": ""}


@pytest.fixture
def sound_server(stub_server: StubServer) -> StubServer:
    stub_server.on("GET", "/status", (200, {"deployments": [CHAT]}))
    stub_server.on("GET", "/operations", page())
    stub_server.on("GET", "/deployments/chat/replicas", page())
    stub_server.on("GET", "/audit", (200, {"total": TOTAL, "holds": True}))
    return stub_server


@pytest.fixture
def redis_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    valkey = EmbeddedValkey(tmp_path / "own.sock", data_dir=None)
    valkey.start()
    monkeypatch.setenv("TAMER_JOBS_URL", valkey.url)
    client = redis.Redis(unix_socket_path=str(valkey.socket))
    yield client
    client.close()
    valkey.stop()


@pytest.fixture(autouse=True)
def free_port(tamer: Tamer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After `tamer` has cleaned the environment."""
    monkeypatch.setenv("TAMER_PORT", "0")
    tmp_path.chmod(0o700)


def levels(tamer: Tamer) -> tuple[int, dict[str, dict[str, Any]]]:
    code, out, _ = tamer("doctor", "--json")
    return code, {each["subject"]: each for each in json.loads(out)}


def test_a_sound_platform_has_nothing_that_fails(tamer: Tamer, sound_server: StubServer) -> None:
    code, found = levels(tamer)
    assert code == 0
    assert {each["level"] for each in found.values()} == {"ok"}
    assert {"python", "packages", "home", "disk", "port", "redis", "api", "key"} <= found.keys()


def test_each_finding_is_one_line_with_its_level(tamer: Tamer, sound_server: StubServer) -> None:
    _, out, _ = tamer("doctor")
    assert {line.split()[0] for line in out.splitlines()} == {"ok"}


def test_a_home_that_others_may_read_is_a_warning_and_no_failure(
    tamer: Tamer, sound_server: StubServer, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    code, found = levels(tamer)
    assert (code, found["home"]["level"]) == (0, "warn")
    assert found["home"]["advice"] == f"type: chmod 700 {tmp_path}"


@pytest.mark.parametrize(
    ("persistence", "said"),
    [
        ([{"aof_enabled": 1, "aof_delayed_fsync": 0}], None),
        ([{"aof_enabled": 1}, {"aof_enabled": 0}], "no append-only file"),
        ([{"aof_enabled": 1, "aof_delayed_fsync": 3}], "waited for its disk 3 times"),
    ],
)
def test_what_a_redis_may_lose_is_read_from_what_it_says(
    persistence: list[dict[str, int]], said: str | None
) -> None:
    losing = what_it_may_lose(persistence)
    assert (losing is None) if said is None else (losing is not None and said in losing[0])


def test_a_redis_that_evicts_fails(
    tamer: Tamer, sound_server: StubServer, redis_server: redis.Redis
) -> None:
    redis_server.config_set("maxmemory-policy", "allkeys-lfu")
    code, found = levels(tamer)
    assert (code, found["redis"]["level"]) == (ExitCode.FAILED, "fail")
    assert "CONFIG SET maxmemory-policy noeviction" in found["redis"]["said"]


def test_a_redis_that_keeps_nothing_on_disk_is_a_warning(
    tamer: Tamer, sound_server: StubServer, redis_server: redis.Redis
) -> None:
    code, found = levels(tamer)
    assert (code, found["redis"]["level"]) == (0, "warn")
    assert "appendonly yes" in found["redis"]["advice"]


def test_every_primary_of_a_cluster_is_looked_at(
    tamer: Tamer,
    sound_server: StubServer,
    valkey_cluster_servers: ValkeyCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAMER_JOBS_URL", valkey_cluster_servers.url)
    _, found = levels(tamer)
    assert found["redis"]["level"] == "warn"
    assert "at the cluster at 127.0.0.1:" in found["redis"]["said"]
    for node in valkey_cluster_servers.nodes[1:]:
        node.ask("CONFIG", "SET", "appendonly", "yes")
    try:
        _, found = levels(tamer)
        assert found["redis"]["level"] == "warn", "the first keeps nothing"
    finally:
        for node in valkey_cluster_servers.nodes[1:]:
            node.ask("CONFIG", "SET", "appendonly", "no")


def test_a_redis_that_is_away_fails_without_its_password(
    tamer: Tamer, sound_server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAMER_JOBS_URL", "redis://:secret-word@127.0.0.1:1/0")
    code, out, _ = tamer("doctor")
    assert code == ExitCode.FAILED
    assert "redis: 127.0.0.1:1 does not answer" in out
    assert "secret-word" not in out


def test_a_database_that_is_away_fails_without_its_password(
    tamer: Tamer, sound_server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAMER_DATABASE_URL", "postgresql://me:secret-word@127.0.0.1:1/tamer")
    code, out, _ = tamer("doctor")
    assert code == ExitCode.FAILED
    assert "the PostgreSQL at 127.0.0.1:1/tamer does not answer" in out
    assert "start it, or correct the URL" in out
    assert "secret-word" not in out


def test_a_file_that_is_no_database_fails(
    tamer: Tamer, sound_server: StubServer, tmp_path: Path
) -> None:
    (tmp_path / "tamer.db").write_text("these are no tables, and long enough for a header " * 4)
    _, found = levels(tamer)
    assert found["database"]["level"] == "fail"
    assert "file is not a database" in found["database"]["said"]


def test_a_broker_that_is_away_fails_without_its_password(
    tamer: Tamer, sound_server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAMER_BROKER_URL", "redis://:secret-word@127.0.0.1:1/1")
    code, out, _ = tamer("doctor")
    assert code == ExitCode.FAILED
    assert "the broker at 127.0.0.1:1 does not answer" in out
    assert "start it, or correct TAMER_BROKER_URL" in out
    assert "secret-word" not in out


def test_no_server_fails_and_the_rest_is_still_told(
    tamer: Tamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAMER_URL", "http://127.0.0.1:1")
    code, found = levels(tamer)
    assert (code, found["api"]["level"]) == (ExitCode.FAILED, "fail")
    assert "tamer up" in found["api"]["said"]
    assert found["python"]["level"] == "ok"


def test_a_refused_key_is_told_apart_from_a_server_that_is_away(
    tamer: Tamer, sound_server: StubServer
) -> None:
    sound_server.on("GET", "/status", (401, {"detail": "unknown key"}))
    code, found = levels(tamer)
    assert code == ExitCode.FAILED
    assert (found["api"]["level"], found["key"]["level"]) == ("ok", "fail")


def test_a_crash_loop_fails_with_its_last_reason(tamer: Tamer, sound_server: StubServer) -> None:
    failed = {"state": "failed", "ready_at": None, "reason": "no memory"}
    sound_server.on("GET", "/deployments/chat/replicas", page(failed, failed, failed))
    code, found = levels(tamer)
    assert code == ExitCode.FAILED
    assert "3 replicas failed in a row, the last: no memory" in found["deployment"]["said"]
    assert "tamer logs chat" in found["deployment"]["advice"]


def test_failures_before_the_last_success_are_no_crash_loop(
    tamer: Tamer, sound_server: StubServer
) -> None:
    failed = {"state": "failed", "ready_at": None, "reason": "no memory"}
    ready = {"state": "ready", "ready_at": 5.0, "reason": ""}
    sound_server.on("GET", "/deployments/chat/replicas", page(ready, failed, failed, failed))
    assert levels(tamer)[0] == 0


def test_an_operation_past_its_deadline_is_stuck(tamer: Tamer, sound_server: StubServer) -> None:
    launch = {"id": "op-1", "kind": "launch_instance", "subject_id": "ins-1", "state": "running"}
    overdue = {**launch, "attempts": 1, "error": "", "deadline_at": 1.0}
    sound_server.on("GET", "/operations", page(overdue))
    code, found = levels(tamer)
    assert (code, found["operations"]["level"]) == (0, "warn")
    assert "launch_instance op-1 of ins-1" in found["operations"]["said"]


def test_counters_that_do_not_add_up_fail(tamer: Tamer, sound_server: StubServer) -> None:
    sound_server.on("GET", "/audit", (200, {"total": TOTAL, "holds": False}))
    code, found = levels(tamer)
    assert (code, found["audit"]["level"]) == (ExitCode.FAILED, "fail")


def test_a_cloud_whose_credentials_are_missing_fails_and_says_what_machines_there_would_miss(
    tamer: Tamer, sound_server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("TAMER_CLOUD", "aws")
    monkeypatch.setenv("TAMER_AWS_REGION", "eu-west-1")
    code, out, _ = tamer("doctor", "--json")
    found = json.loads(out)
    assert code == ExitCode.FAILED
    [cloud] = [each for each in found if each["subject"] == "cloud"]
    assert (cloud["level"], "AWS_ACCESS_KEY_ID" in cloud["said"]) == ("fail", True)
    reach = [each["advice"] for each in found if each["subject"] == "reach"]
    assert any("TAMER_STORAGE_URL=s3://" in each for each in reach)
