"""The instances of the stand-in as processes of this machine: booted, shut down, powered off."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from infra.process import end_with_parent
from loadtests.ec2.boot import boot_command, boot_environment, here
from loadtests.ec2.metadata import Metadata, metadata_service

_SHUTDOWN_S = 10.0
"""Between the signal to end and the loss of power (systemd's TimeoutStopSec is longer)."""


@dataclass
class Machine:
    process: subprocess.Popen[bytes]
    metadata: Metadata
    log: Path
    services: ExitStack = field(repr=False)

    def kill(self) -> None:
        """As a power cut: the whole process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def shut_down(self) -> None:
        """SIGTERM to what user data started, as systemd does it; later the power goes."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        timer = threading.Timer(_SHUTDOWN_S, self.kill)
        timer.daemon = True
        timer.start()


class Machines:
    """By cloud id. Safe for threads."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds one folder for each machine."""
        self._folder = folder
        self.dead = 0
        """So many of the next ones run and do nothing."""
        self._machines: dict[str, Machine] = {}
        self._lock = threading.Lock()
        # Linux ties the end of a child to the thread that forked it, so that one must stay.
        self._forker = ThreadPoolExecutor(1, thread_name_prefix="machines")

    def __getitem__(self, cloud_id: str) -> Machine:
        """Also one that has ended. Raises KeyError: it was never launched."""
        with self._lock:
            return self._machines[cloud_id]

    def boot(
        self, cloud_id: str, devices: int, user_data_base64: str, on_end: Callable[[], None]
    ) -> None:
        """Start it; `on_end` is called in a thread when its process has ended, however it did."""
        machine = self._forker.submit(self._start, cloud_id, devices, user_data_base64).result()
        with self._lock:
            self._machines[cloud_id] = machine

        def watch() -> None:
            machine.process.wait()
            machine.kill()  # what it may have left behind
            machine.services.close()
            on_end()

        threading.Thread(target=watch, name=f"watch {cloud_id}", daemon=True).start()

    def shut_down(self, cloud_id: str) -> None:
        """Ended in order; unknown ids are fine."""
        machine = self._find(cloud_id)
        if machine is not None:
            machine.shut_down()

    def power_off(self, cloud_id: str) -> None:
        """Gone at once; unknown ids are fine."""
        machine = self._find(cloud_id)
        if machine is not None:
            machine.kill()

    def close(self) -> None:
        """Nothing of them is left."""
        with self._lock:
            machines = list(self._machines.values())
        for machine in machines:
            machine.kill()
            machine.process.wait()
        self._forker.shutdown()

    def _find(self, cloud_id: str) -> Machine | None:
        with self._lock:
            return self._machines.get(cloud_id)

    def _start(self, cloud_id: str, devices: int, user_data_base64: str) -> Machine:
        folder = self._folder / cloud_id
        services = ExitStack()
        metadata = services.enter_context(metadata_service())
        command = boot_command(user_data_base64, folder, metadata.url)
        if self.dead:
            self.dead -= 1
            command = ["sleep", "infinity"]
        log = folder / "console.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=boot_environment(folder, devices, here()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent(),  # noqa: PLW1509 - one prctl, no locks
            )
        return Machine(process, metadata, log, services)
