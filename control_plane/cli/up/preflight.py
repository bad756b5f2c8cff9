"""What must hold on this machine before anything is started; each miss is one line."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import socket
import sys
from pathlib import Path

from control_plane.cli.database import ask_store
from control_plane.cli.exits import CommandError
from infra.embedded import EmbeddedServerError, server_binary
from infra.extras import install_command
from infra.private_folder import make_private
from infra.settings import Settings

_NEW_HOME_BYTES = 1 << 30
"""A first model, its download and some room."""
_OLD_HOME_BYTES = 64 << 20
_MODULES = ("celery", "fastapi", "gguf", "safetensors", "sqlalchemy", "tokenizers", "torch")


def check_python() -> None:
    """Raises:
    CommandError: a package that the platform needs on one machine is missing.
    """
    if sys.platform != "linux":
        raise CommandError("'tamer up' runs on Linux only; use a container or a virtual machine")
    missing = [name for name in ("uvicorn", *_MODULES) if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandError(
            f"missing packages: {', '.join(missing)}; get them with: {install_command('local')}"
        )


def check_valkey() -> None:
    """Raises:
    CommandError: there is no server to embed.
    """
    try:
        server_binary()
    except EmbeddedServerError as error:
        raise CommandError(str(error)) from error


def check_store() -> None:
    """Raises:
    CommandError: the database cannot be used.
    """
    answer = ask_store()
    if not answer.usable:
        raise CommandError(answer.said)


def prepare_home(settings: Settings) -> None:
    """Create the folders of the home and see that they can be written to.

    Raises:
        CommandError: the home cannot be used, or its disk is full.
    """
    home = settings.home
    try:
        for folder in (home, settings.run_dir, settings.logs_dir):
            make_private(folder)
        probe = home / f".probe-{os.getpid()}"
        probe.write_bytes(bytes(4096))
        probe.unlink()
        free = shutil.disk_usage(home).free
    except OSError as error:
        raise CommandError(unusable(home, error)) from error
    # On PostgreSQL a home has no database of its own.
    is_old = any((home / name).exists() for name in ("tamer.db", "models"))
    needed = _OLD_HOME_BYTES if is_old else _NEW_HOME_BYTES
    if free < needed:
        raise CommandError(
            f"{home} has {free >> 20} MiB free and {needed >> 20} MiB are needed: "
            "free some space, or set TAMER_HOME to another disk"
        )


def unusable(home: Path, error: OSError) -> str:
    """What to tell the user of an error in the home."""
    if error.errno == errno.ENOSPC:
        return f"the disk of {home} is full: free some space, or set TAMER_HOME to another disk"
    why = error.strerror or str(error)
    return f"cannot write to {home} ({why}): set TAMER_HOME to a folder of your own"


def choose_port(settings: Settings) -> int:
    """The port to listen on: the one that is set, or any free one for 0.

    Raises:
        CommandError: it is taken, or the address is not of this machine.
    """
    return _bindable(settings.host, settings.port, "")


def check_embedded_port(settings: Settings) -> None:
    """Raises:
    CommandError: the embedded Valkey cannot listen where other machines are to reach it.
    """
    if settings.embedded_port and settings.embeds_valkey:
        _bindable(settings.embedded_host, settings.embedded_port, "EMBEDDED_")


def _bindable(host: str, port: int, name: str) -> int:
    """The port that was bound for a moment; `name` is what the settings of it begin with."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(_unbindable(host, port, name, error)) from error
        found: int = probe.getsockname()[1]
        return found


def _unbindable(host: str, port: int, name: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: set TAMER_{name}PORT to another, or stop what listens there"
    return f"cannot listen on {host}:{port} ({error.strerror}): check TAMER_{name}HOST"
