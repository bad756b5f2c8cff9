"""The user data of the module, booted as a process of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loadtests.ec2.user_data import rendered
from tests.terraform.working_copy import SOURCE

ROOT = SOURCE.parent
_TOKEN = "one-time"


class ControlPlane(ThreadingHTTPServer):
    """Refuses whoever wants to join, and remembers what it heard."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Refusal)
        self.heard: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Refusal(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, ControlPlane)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.server.heard.append(f"{self.path} {body} {self.headers}")
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """The test says what went wrong."""


@pytest.fixture
def control_plane() -> Iterator[ControlPlane]:
    server = ControlPlane()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def _script(folder: Path) -> Path:
    """For an image that has Tamer, and one setting."""
    script = folder / "user-data"
    script.write_text(rendered({"TAMER_PEER_PORT": "7443"}))
    return script


def _boot(folder: Path, environment: str) -> subprocess.CompletedProcess[str]:
    agent = folder / "agent.env"
    agent.write_text(environment)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TAMER_")}
    given = {
        "PYTHONPATH": str(ROOT),
        "TAMER_AGENT_ENV_FILE": str(agent),
        "TAMER_BOOT_FOREGROUND": "1",
        "TAMER_HOME": str(folder / "home"),
        "TAMER_PYTHON": sys.executable,
    }
    return subprocess.run(
        ["bash", str(_script(folder))],
        env={**inherited, **given},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_user_data_boots_an_agent_that_joins_with_its_token(
    tmp_path: Path, control_plane: ControlPlane
) -> None:
    joining = f"TAMER_JOIN_URL='{control_plane.url}'\nTAMER_JOIN_TOKEN='{_TOKEN}'\n"
    done = _boot(tmp_path, joining)
    assert done.returncode == 2, done.stderr  # refused, as an agent says it
    (heard,) = control_plane.heard
    assert "/instances/join" in heard
    assert _TOKEN in heard
    written = (tmp_path / "agent.env").read_text().splitlines()
    assert "TAMER_PEER_PORT=7443" in written
    assert f"TAMER_JOIN_TOKEN={_TOKEN}" in written


def test_user_data_without_a_token_says_so_and_starts_nothing(tmp_path: Path) -> None:
    done = _boot(tmp_path, "TAMER_JOIN_URL='http://127.0.0.1:9'\n")
    assert done.returncode != 0
    assert "a launch gives a one-time token" in done.stderr
