"""The embedded Valkey's TCP port for machines that join: never open without a password.

Once there is a password, our own processes use it on the Unix socket too: users of Valkey are the
same on every way in.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from infra.settings import Settings

_USERS_FILE = "valkey.users"
_OURS = "default"
_AGENT = "agent"
_AGENT_MAY = (
    "~* &* resetdbs db=0 +@all -@admin -@dangerous +info "
    "-function|flush -function|delete -function|restore -function|dump"
)
"""The queue, the streams and the registry, which are in database 0; not the Celery broker."""


@dataclass(frozen=True, slots=True)
class Door:
    """Options of the server, `port` 0 where it is closed (again)."""

    host: str
    port: int
    users_file: Path

    def options(self) -> list[str]:
        listening = ["--bind", self.host] if self.port else []
        return [*listening, "--port", str(self.port), "--aclfile", str(self.users_file)]


def prepare_door(settings: Settings) -> Door | None:
    """Write who may come in, with a password that is made when a port is first wanted; None where
    there never was one.

    Raises:
        OSError: the home cannot be written to.
    """
    if settings.embedded_port and not settings.embedded_password:
        _write_private(settings.embedded_password_file, secrets.token_urlsafe(32))
    password = settings.embedded_password
    if not password:
        return None
    users_file = settings.home / _USERS_FILE
    ours = _user(_OURS, password, "~* &* +@all")
    _write_private(users_file, ours + _user(_AGENT, _agent_password(password), _AGENT_MAY))
    return Door(settings.embedded_host, settings.embedded_port, users_file)


def agent_url(settings: Settings, host: str) -> str:
    """For `redis.from_url` on a machine that reaches us under this name."""
    bracketed = f"[{host}]" if ":" in host else host
    password = _agent_password(settings.embedded_password)
    return f"redis://{_AGENT}:{password}@{bracketed}:{settings.embedded_port}/0"


def _agent_password(password: str) -> str:
    return hmac.digest(password.encode(), _AGENT.encode(), hashlib.sha256).hex()


def _user(name: str, password: str, may: str) -> str:
    digest = hashlib.sha256(password.encode()).hexdigest()
    return f"user {name} on sanitize-payload #{digest} {may}\n"


def _write_private(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w") as stream:
        stream.write(text)
    draft.replace(path)
