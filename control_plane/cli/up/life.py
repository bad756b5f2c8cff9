"""One life of the platform: from its start to the last process that ended."""

from __future__ import annotations

import asyncio
import json
import signal
import time

from control_plane.cli.api_client import ApiClient
from control_plane.cli.credentials import Credentials, first_key, remember
from control_plane.cli.exits import CommandError
from control_plane.cli.screen import Screen
from control_plane.cli.up import preflight
from control_plane.cli.up.admin_keys import note_older_admin_keys
from control_plane.cli.up.first_run import MODEL, QUESTION, serve_first_model
from control_plane.cli.up.programs import STOP_ORDER, Platform
from control_plane.cli.up.readiness import NotReady, wait_until_ready
from control_plane.cli.up.supervisor import Supervisor
from infra.broker_check import broker_trouble
from infra.embedded_disk import DiskSync
from infra.names import JOINED_CLOUD, LOCAL_CLOUD
from infra.private_folder import make_private
from infra.settings import Settings

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Life:
    """Runs once, on the main thread."""

    def __init__(self, settings: Settings, screen: Screen, port: int, first_model: bool) -> None:
        self._settings = settings
        self._screen = screen
        self._port = port
        self._first_model = first_model
        self._supervisor = Supervisor(screen.note)
        self._disk_sync = DiskSync(settings.embedded_data_dir, screen.note)
        self._asked_to_stop = 0
        self._life: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Start everything, stay until a signal comes, stop everything.

        Raises:
            CommandError: something could not be started; nothing of it is left.
        """
        loop = asyncio.get_running_loop()
        for each in _SIGNALS:
            if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN:  # under nohup
                loop.add_signal_handler(each, self._on_signal)
        self._life = asyncio.create_task(self._live())
        try:
            await self._life
        except asyncio.CancelledError:
            if not self._asked_to_stop:
                raise
        finally:
            await self._supervisor.stop(STOP_ORDER)
            self._disk_sync.stop()
        self._screen.note("stopped; 'tamer up' starts again where this ended")

    def _on_signal(self) -> None:
        self._asked_to_stop += 1
        if self._asked_to_stop == 1:
            self._screen.note("stopping (Ctrl-C again to stop at once)")
            if self._life is not None:
                self._life.cancel()
        else:
            self._supervisor.kill()

    async def _live(self) -> None:
        began = time.monotonic()
        server = await self._start()
        if trouble := await broker_trouble(self._settings):
            self._screen.note(f"warning: {trouble}")
        self._supervisor.keep_alive()
        self._screen.note(f"running at {server.url} after {time.monotonic() - began:.1f} s")
        async with ApiClient(server) as client:
            if self._settings.admin_key.get_secret_value():
                await note_older_admin_keys(client, self._screen)
            if self._settings.cloud == JOINED_CLOUD:
                self._screen.note("machines serve here once they join: 'tamer worker token'")
            elif self._first_model:
                free = self._settings.cloud == LOCAL_CLOUD
                await serve_first_model(client, self._screen, keep=free)
        self._show_how_to_go_on(server)
        await asyncio.Event().wait()

    async def _start(self) -> Credentials:
        settings = self._settings
        url = f"http://{_client_host(settings.host)}:{self._port}"
        server = Credentials(url, first_key(settings))
        remember(settings, server)
        platform = Platform(settings, url, server.key)
        make_private(settings.run_dir)
        if platform.embeds_valkey:
            preflight.check_valkey()
            await self._supervisor.start([platform.valkey()])
            self._disk_sync.start()
        self._screen.note(f"starting the platform (state and logs in {settings.home})")
        await self._supervisor.start(platform.others())
        try:
            await wait_until_ready(url, self._supervisor.check, self._screen.note)
        except NotReady as error:
            raise CommandError(f"{error} (logs: {settings.logs_dir})") from error
        return server

    def _show_how_to_go_on(self, server: Credentials) -> None:
        body = json.dumps(
            {
                "model": MODEL,
                "messages": [{"role": "user", "content": QUESTION}],
                "temperature": 0,
                "max_tokens": 64,
            }
        )
        self._screen.line(f"URL   {server.url}/v1")
        self._screen.line(f"key   {server.key}")
        self._screen.line(
            f"curl {server.url}/v1/chat/completions -H 'Authorization: Bearer {server.key}' "
            f"-H 'Content-Type: application/json' -d '{body}'"
        )
        self._screen.note(f"Ctrl-C stops everything; 'tamer chat {MODEL}' asks more")


def _client_host(host: str) -> str:
    """An address to connect to, for one to listen on."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"
    return f"[{host}]" if ":" in host else host
