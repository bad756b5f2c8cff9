"""`tamer up` and `down` around the platform: the lock, the checks, and how they refuse."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from control_plane.cli.credentials import Credentials, find_server, first_key, remember
from control_plane.cli.exits import CommandError
from control_plane.cli.up import preflight
from control_plane.cli.up.home_lock import Holder, HomeLock, lock_path, running_holder
from control_plane.cli.up.programs import Platform
from infra.embedded import EmbeddedValkey
from infra.settings import Settings
from tests.fixtures.waiting import block_until

HOLD = """
import signal, sys, time
from pathlib import Path
from control_plane.cli.up.home_lock import HomeLock
from infra.settings import Settings
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
with HomeLock(Settings(home=Path(sys.argv[1]))):
    print("held", flush=True)
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        pass
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [each for each in os.environ if each.startswith("TAMER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TAMER_HOME", str(tmp_path))


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of the home."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def up(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    program = "from control_plane.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "up"],
        env={**os.environ, "TAMER_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- the lock --------------------------------------------------------------------------------


def test_a_home_has_one_up_and_the_second_names_the_first(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with (
        pytest.raises(CommandError, match=f"process {holder.pid}.*tamer down"),
        HomeLock(Settings()),
    ):
        pass
    found = running_holder(Settings())
    assert found is not None
    assert found.pid == holder.pid


def test_a_lock_goes_with_its_holder_and_leaves_no_file(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.send_signal(signal.SIGINT)
    holder.wait(10)
    assert not lock_path(Settings()).exists()
    assert running_holder(Settings()) is None


def test_the_lock_of_a_killed_holder_is_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait(10)
    assert lock_path(Settings()).exists()
    assert running_holder(Settings()) is None
    with HomeLock(Settings()):
        mine = running_holder(Settings())
        assert mine is not None
        assert mine.pid == os.getpid()


def test_a_later_process_with_the_same_number_is_a_stranger() -> None:
    me = Holder.this_process()
    assert me.lives()
    assert not Holder(me.pid, "1").lives()
    assert not Holder(2**22 + 1, me.started).lives()


def test_down_does_not_signal_a_stranger(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """Somebody else holds the file, and the process that it names is not who it was."""
    lock_path(Settings()).write_text(json.dumps({"pid": os.getpid(), "started": "1"}))
    assert running_holder(Settings()) is None


def test_down_stops_the_holder_and_waits(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    program = "from control_plane.cli.main import main; main()"
    process = subprocess.Popen([sys.executable, "-c", program, "down"], stdout=subprocess.PIPE)
    assert holder.wait(20) == -signal.SIGTERM
    said, _ = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, b"stopped\n")


# --- the checks ------------------------------------------------------------------------------


def test_a_busy_port_is_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = up(home, TAMER_PORT=str(port))
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        f"tamer: port {port} is in use: set TAMER_PORT to another, or stop what listens there"
    ]
    assert not home.exists()


def test_a_busy_port_for_other_machines_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"port {port} is in use: set TAMER_EMBEDDED_PORT"):
            preflight.check_embedded_port(Settings(embedded_port=port))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("garbage", "no URL of a database; use sqlite:///path or postgresql://"),
        ("oracle://nowhere", "'oracle' is not supported; use sqlite:///path"),
        (
            "postgresql://tamer:secret-word@127.0.0.1:1/tamer",
            "the PostgreSQL at 127.0.0.1:1/tamer does not answer",
        ),
        ("sqlite:////dev/null/t.db", "name a file that we may write"),
    ],
)
def test_a_wrong_database_is_one_line_before_anything_starts(
    tmp_path: Path, url: str, said: str
) -> None:
    ended = up(tmp_path, TAMER_PORT="0", TAMER_DATABASE_URL=url)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"tamer: TAMER_DATABASE_URL: {said}") or said in line
    assert "secret-word" not in line
    assert not list((tmp_path / "logs").glob("*")), "nothing was started"


def test_a_second_up_on_a_home_is_one_line(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    ended = up(tmp_path, TAMER_PORT="0")
    assert ended.returncode == 1
    assert "another 'tamer up' runs" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert holder.poll() is None


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = up(tmp_path / "file" / "home", TAMER_PORT="0")
    assert ended.returncode == 1
    assert "set TAMER_HOME to a folder of your own" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_full_disk_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = (1 << 40, 1 << 40, 1 << 20)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: _Usage(*usage))
    with pytest.raises(CommandError, match="1 MiB free and 1024 MiB are needed"):
        preflight.prepare_home(Settings())


class _Usage:
    def __init__(self, total: int, used: int, free: int) -> None:
        self.total, self.used, self.free = total, used, free


def test_missing_packages_are_all_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_MODULES", ("celery", "no_such_wheel", "nor_this"))
    with pytest.raises(CommandError, match=r"no_such_wheel, nor_this; .*pip install"):
        preflight.check_python()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CommandError, match="TAMER_HOST"):
        preflight.choose_port(Settings(host="192.0.2.1", port=0))


def test_port_0_is_any_free_port() -> None:
    assert preflight.choose_port(Settings(port=0)) > 0


# --- keys and environment --------------------------------------------------------------------


def test_the_first_key_is_made_once_and_only_this_user_can_read_it(tmp_path: Path) -> None:
    key = first_key(Settings())
    remember(Settings(), Credentials("http://127.0.0.1:8000", key))
    assert stat.S_IMODE((tmp_path / "credentials").stat().st_mode) == 0o600
    assert first_key(Settings()) == key
    assert find_server(Settings()) == Credentials("http://127.0.0.1:8000", key)


def test_a_given_key_wins_and_is_not_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAMER_ADMIN_KEY", "given")
    assert first_key(Settings()) == "given"
    remember(Settings(), Credentials("http://127.0.0.1:8000", "given"))
    assert "given" not in (tmp_path / "credentials").read_text()
    assert find_server(Settings()) == Credentials("http://127.0.0.1:8000", "given")


def test_a_port_in_the_environment_wins_over_what_up_wrote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remember(Settings(), Credentials("http://127.0.0.1:8000", "key"))
    monkeypatch.setenv("TAMER_PORT", "8001")
    assert find_server(Settings()) == Credentials("http://127.0.0.1:8001", "")


def test_only_the_api_is_told_the_first_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMER_ADMIN_KEY", "secret")
    programs = Platform(Settings(), "http://127.0.0.1:8000", "secret").others()
    assert [each.name for each in programs if "TAMER_ADMIN_KEY" in each.environment] == ["serve"]


def test_a_redis_of_the_users_own_needs_no_embedded_one() -> None:
    own = Settings(jobs_url="redis://a", broker_url="redis://b")
    assert not Platform(own, "http://127.0.0.1:8000", "").embeds_valkey
    assert Platform(Settings(jobs_url="redis://a"), "http://127.0.0.1:8000", "").embeds_valkey


def test_a_failed_start_stops_what_had_started(tmp_path: Path) -> None:
    """The broker's Valkey runs already when the server finds that the Redis of jobs evicts."""
    own = EmbeddedValkey(tmp_path / "own.sock", data_dir=None)
    own.start()
    with redis.Redis(unix_socket_path=str(own.socket)) as client:
        client.config_set("maxmemory-policy", "allkeys-lfu")
    try:
        ended = up(tmp_path, TAMER_PORT="0", TAMER_JOBS_URL=own.url)
    finally:
        own.stop()
    assert ended.returncode == 1
    said = ended.stderr.splitlines()[-1]
    assert re.search(r"ended(?: at its start)?, exit code \d: the Redis of TAMER_JOBS_URL ev", said)
    assert "or set TAMER_JOBS_URL to another server (log: " in said, "uncut"
    assert not (tmp_path / "run").exists()
    assert not lock_path(Settings()).exists()
    block_until(lambda: not _of_home(tmp_path), "nothing of it is left", 5.0)


def _of_home(home: Path) -> list[str]:
    """Command lines of the processes that belong to a home (this one is not of it)."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                environment = (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if f"TAMER_HOME={home}\0".encode() in environment:
                found.append(command.decode().replace("\0", " "))
    return found
