"""The secret of the control plane, and the one-time join tokens that come from it.

A token is HMAC(secret, instance id). Launching is repeated after a crash, and a cloud takes the
repetition for the same launch only if it is the same request: so the token must come out the same
each time, without being written down in between. It exists in the memory of the Celery worker that
launches and in the environment (user data) of that one instance; the store knows its SHA-256 and
forgets that when it is used. Who reads the store or the broker can therefore not join.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from infra.settings import Settings

_FILE = "secret.key"
_PREFIX = "join"


class SecretUnreadable(RuntimeError):
    """The secret's file is not as we left it; the message says what to do."""


def join_token(secret: bytes, instance_id: str) -> str:
    digest = hmac.digest(secret, f"join:{instance_id}".encode(), hashlib.sha256)
    return f"{_PREFIX}_{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def control_plane_secret(settings: Settings) -> bytes:
    """`TAMER_SECRET_KEY`, or the content of a private file in the home folder, made once.

    Raises:
        SecretUnreadable: the file is empty, or others may read it.
    """
    given = settings.secret_key.get_secret_value()
    if given:
        return given.encode()
    path = settings.home / _FILE
    if not path.exists():
        _make(path)
    if path.stat().st_mode & 0o077:
        raise SecretUnreadable(f"others can read {path}: chmod 600, or remove it to get a new one")
    secret = path.read_bytes()
    if not secret:
        raise SecretUnreadable(f"{path} is empty: remove it to get a new one")
    return secret


def _make(path: Path) -> None:
    """Write it whole under another name and link it, so that of several makers one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
