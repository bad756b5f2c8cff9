"""This machine: Python, packages, the home folder, its disk, the port."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from control_plane.cli.doctor.finding import Finding, fail, ok, warn
from control_plane.cli.exits import CommandError
from control_plane.cli.up import preflight
from control_plane.cli.up.home_lock import running_holder
from infra.settings import Settings

_OLDEST_PYTHON = (3, 11)
_LITTLE_BYTES = 1 << 30
_NOTHING_BYTES = 64 << 20


def examine_machine(settings: Settings) -> Iterator[Finding]:
    yield _python()
    yield _passes("packages", preflight.check_python, "all there", fail)
    if not settings.jobs_url or not settings.broker_url:
        yield _passes("valkey", preflight.check_valkey, "there is a server to embed", fail)
    yield _home(settings.home)
    yield _disk(settings.home)


def examine_port(settings: Settings, answers: bool) -> Finding:
    """`answers`: the Tamer that we speak to is the one that listens there."""
    holder = running_holder(settings)
    if holder is not None:
        return ok("port", f"ours: 'tamer up' runs as process {holder.pid}")
    if answers:
        return ok("port", f"{settings.port} is the server's")
    return _passes(
        "port", lambda: preflight.choose_port(settings), f"{settings.port} is free", fail
    )


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        return fail("python", f"{version} is too old", "install Python 3.11 or newer")
    return ok("python", f"{version} at {sys.executable}")


def _passes(
    subject: str,
    check: Callable[[], object],
    said: str,
    otherwise: Callable[[str, str], Finding],
) -> Finding:
    try:
        check()
    except CommandError as error:
        return otherwise(subject, str(error))
    return ok(subject, said)


def _home(home: Path) -> Finding:
    try:
        found = home.stat()
    except FileNotFoundError:
        return ok("home", f"{home} is made by 'tamer up'")
    except OSError as error:
        return fail("home", preflight.unusable(home, error))
    if not stat.S_ISDIR(found.st_mode):
        return fail("home", f"{home} is no folder", "set TAMER_HOME to a folder of your own")
    if found.st_uid != os.geteuid():
        return fail("home", f"{home} is somebody else's", "set TAMER_HOME to a folder of your own")
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return fail("home", f"{home} cannot be written to", f"type: chmod u+rwx {home}")
    if found.st_mode & 0o077:
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        return warn("home", f"others may look into {home} ({mode})", f"type: chmod 700 {home}")
    return ok("home", f"{home} is ours alone")


def _disk(home: Path) -> Finding:
    nearest = next(each for each in (home, *home.parents) if each.exists())
    free = shutil.disk_usage(nearest).free
    said = f"{free / 1e9:.1f} GB free at {nearest}"
    if free < _NOTHING_BYTES:
        return fail("disk", said, "free some space, or set TAMER_HOME to another disk")
    if free < _LITTLE_BYTES:
        return warn("disk", f"{said}, little for models", "free some space, or move TAMER_HOME")
    return ok("disk", said)
