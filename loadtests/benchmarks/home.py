"""A Tamer of its own for one benchmark: `tamer up` in a temporary home, on a free port."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from loadtests.benchmarks.processes import ENGINE, Process, below

MODEL = "smollm2"
_UP = "from control_plane.cli.main import main; main()"
_START_LIMIT_S = 300.0
_DEPLOY_LIMIT_S = 180.0
_STOP_LIMIT_S = 60.0
_LOOK_EVERY_S = 0.1


class NotRunning(RuntimeError):
    """`tamer up` did not do what it should; the message has its last words."""


class Home:
    """Started on entering, with its model imported; stopped and removed on leaving."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment` comes on top of what every Tamer of a benchmark gets."""
        self._folder = tempfile.TemporaryDirectory(prefix="tamer-bench-")
        self.path = Path(self._folder.name) / "home"
        self.spans = Path(self._folder.name) / "spans.jsonl"
        self._output = Path(self._folder.name) / "output.txt"
        self.key = f"bench_{secrets.token_hex(16)}"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._environment = {
            **{name: value for name, value in os.environ.items() if name[:6] != "TAMER_"},
            "TAMER_HOME": str(self.path),
            "TAMER_PORT": str(port),
            "TAMER_ADMIN_KEY": self.key,
            "TAMER_TORCH_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            # Only requests that ask for it are traced.
            "TAMER_TRACE_FILE": str(self.spans),
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            **(environment or {}),
        }
        self._api = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"authorization": f"Bearer {self.key}"},
            timeout=30.0,
            trust_env=False,
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            with self._output.open("wb") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _UP, "up"],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._wait(lambda: "curl" in self._said(), "ready", _START_LIMIT_S)
            self.delete(MODEL)  # the deployment that greets; its model stays registered
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._api.close()
        self._folder.cleanup()

    def deploy(self, name: str, engine: dict[str, Any]) -> dict[str, Any]:
        """One replica, ready to serve; returns the revision (`engine`, `options`)."""
        self.apply(name, engine, {"min_replicas": 1, "max_replicas": 1})
        self._wait(lambda: self._states(name) == ["ready"], f"serving {name}", _DEPLOY_LIMIT_S)
        revision: dict[str, Any] = self.get(f"/deployments/{name}")["revision"]
        return revision

    def apply(self, name: str, engine: dict[str, Any], scaling: dict[str, Any]) -> None:
        spec = {"name": name, "model": MODEL, "engine": engine, "scaling": scaling}
        reply = self._api.put(f"/deployments/{name}", json=spec)
        if not reply.is_success:
            raise NotRunning(f"deploying {name}: {reply.text}")

    def get(self, path: str) -> dict[str, Any]:
        """What the deployment API answers."""
        reply = self._api.get(path)
        if not reply.is_success:
            raise NotRunning(f"{path}: {reply.text}")
        found: dict[str, Any] = reply.json()
        return found

    def delete(self, name: str) -> None:
        """Returns when its name is free and its engine gone."""
        reply = self._api.delete(f"/deployments/{name}")
        if not reply.is_success:
            raise NotRunning(f"deleting {name}: {reply.text}")
        self._wait(lambda: self._is_gone(name), f"rid of {name}", _DEPLOY_LIMIT_S)

    def model_path(self) -> Path:
        """The folder of the only model."""
        [config] = (self.path / "models").glob("*/config.json")
        return config.parent

    def processes(self) -> list[Process]:
        assert self._process is not None
        return below(self._process.pid)

    def engines(self) -> list[Process]:
        return [each for each in self.processes() if each.role == ENGINE]

    def _is_gone(self, name: str) -> bool:
        gone = self._api.get(f"/deployments/{name}").status_code == httpx.codes.NOT_FOUND
        return gone and not self.engines()

    def _states(self, name: str) -> list[str]:
        reply = self._api.get(f"/deployments/{name}/replicas")
        return [each["state"] for each in reply.json()["data"]] if reply.is_success else []

    def _said(self) -> str:
        return self._output.read_text(errors="replace")

    def _wait(self, done: Callable[[], bool], what: str, limit_s: float) -> None:
        assert self._process is not None
        deadline = time.monotonic() + limit_s
        while not done():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NotRunning(f"tamer up is not {what}; it said:\n{self._said()[-2000:]}")
            time.sleep(_LOOK_EVERY_S)


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
