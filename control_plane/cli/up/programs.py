"""The programs of one machine: what `tamer up` starts, with which environment, in which order."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace

import httpx
from redis.asyncio import Redis

from control_plane.cli.up.supervisor import Check, Program
from infra.connection import REDIS_AWAY
from infra.embedded import server_command
from infra.embedded_door import prepare_door
from infra.names import LOCAL_CLOUD
from infra.private_folder import make_private
from infra.settings import Settings

STOP_ORDER = (("controller", "tasks"), ("cloud",), ("serve",), ("valkey",))
"""Nobody decides or launches any more; agents hand back; answers are finished; then the queue."""


@dataclass(frozen=True, slots=True)
class Platform:
    """Makes the programs of one home."""

    settings: Settings
    url: str
    """Where the server will listen."""
    admin_key: str

    @property
    def embeds_valkey(self) -> bool:
        return self.settings.embeds_valkey

    def valkey(self) -> Program:
        data_dir = make_private(self.settings.embedded_data_dir)
        self.settings.embedded_socket.unlink(missing_ok=True)
        door = prepare_door(self.settings)
        command = server_command(self.settings.embedded_socket, data_dir, door)
        return self._program("valkey", command, self._valkey_answers)

    def others(self) -> list[Program]:
        """All that need the queue; they may start together."""
        serve = self._program(
            "serve", _module("control_plane.serve"), _answers(f"{self.url}/livez")
        )
        serve_environment = {**serve.environment, "TAMER_ADMIN_KEY": self.admin_key}
        return [
            *self._cloud(),
            replace(serve, environment=serve_environment),
            self._program("controller", _module("control_plane.controller")),
            self._program("tasks", _module("control_plane.tasks")),
        ]

    def _cloud(self) -> list[Program]:
        if self.settings.cloud != LOCAL_CLOUD:
            return []
        return [self._program("cloud", _module("infra.cloud.local"), self._cloud_answers)]

    def _program(self, name: str, command: list[str], ready: Check | None = None) -> Program:
        log_path = self.settings.logs_dir / f"{name}.log"
        return Program(name, command, self._environment(), log_path, ready, stop_limit_s=12.0)

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in ("TAMER_ADMIN_KEY", "TAMER_API_KEY")
        }
        return {
            **kept,
            "PYTHONUNBUFFERED": "1",
            "TAMER_HOME": str(self.settings.home),
            "TAMER_HOST": self.settings.host,
            "TAMER_PORT": self.url.rsplit(":", 1)[1],
            "TAMER_URL": self._url_for_machines,
        }

    @property
    def _url_for_machines(self) -> str:
        """Processes of this machine join here, whatever server its commands speak to."""
        elsewhere = self.settings.cloud != LOCAL_CLOUD and self.settings.url
        return elsewhere or self.url

    async def _valkey_answers(self) -> bool:
        client = Redis(
            unix_socket_path=str(self.settings.embedded_socket),
            password=self.settings.embedded_password or None,
            socket_timeout=1.0,
        )
        try:
            return bool(await client.ping())
        except REDIS_AWAY:
            return False
        finally:
            await client.aclose()

    async def _cloud_answers(self) -> bool:
        transport = httpx.AsyncHTTPTransport(uds=str(self.settings.cloud_socket), verify=False)
        return await _is_success("http://host-daemon/livez", transport)


def _answers(url: str) -> Check:
    async def check() -> bool:
        return await _is_success(url, None)

    return check


async def _is_success(url: str, transport: httpx.AsyncBaseTransport | None) -> bool:
    """No TLS on this machine: loading certificates for each look would cost more than the look."""
    try:
        async with httpx.AsyncClient(
            transport=transport, timeout=2.0, trust_env=False, verify=False
        ) as client:
            return (await client.get(url)).is_success
    except httpx.HTTPError:
        return False


def _module(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]
