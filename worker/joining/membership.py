"""What this machine knows of a control plane that it joined: its address, its credential."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CREDENTIAL_BYTES = 32
_JOINED = ".joined"
"""Beside a membership that was used."""


class AlreadyRuns(RuntimeError):
    """Another process of this home is the machine already."""


@dataclass(frozen=True, slots=True)
class Membership:
    url: str
    credential: str
    """Made here, before the first join: an answer that is lost then loses nothing."""


def membership_of(url: str, folder: Path) -> Membership:
    """The one with this control plane: as it was left here, or a new one.

    Raises:
        OSError: the folder cannot be written to.
    """
    path = _path(url, folder)
    known = _read(path)
    if known is not None:
        return known
    made = Membership(url, secrets.token_urlsafe(_CREDENTIAL_BYTES))
    draft = path.with_suffix(".draft")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w") as stream:
        json.dump({"url": made.url, "credential": made.credential}, stream)
    draft.replace(path)
    return made


def remember(url: str, folder: Path) -> None:
    """We were let in there: the next `tamer worker join` goes there too.

    Raises:
        OSError: the folder cannot be written to.
    """
    mark = _path(url, folder).with_suffix(_JOINED)
    mark.touch(mode=0o600)
    os.utime(mark)


def last_url(folder: Path) -> str:
    """Of the control plane that let us in last; empty where none has."""
    marks = folder.glob(f"*{_JOINED}")
    for mark in sorted(marks, key=lambda each: each.stat().st_mtime, reverse=True):
        known = _read(mark.with_suffix(".json"))
        if known is not None:
            return known.url
    return ""


def _path(url: str, folder: Path) -> Path:
    return folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process a home: a second one would take the first one's place, and lose it again.

    Raises:
        AlreadyRuns: another holds it; the kernel frees it however that one ends.
    """
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise AlreadyRuns(
            f"'tamer worker join' runs on {folder.parent} already: stop that one, or set "
            "TAMER_HOME to another folder"
        ) from error
    try:
        yield
    finally:
        os.close(file)


def _read(path: Path) -> Membership | None:
    """None where nothing legible is there."""
    try:
        written = json.loads(path.read_text())
        return Membership(str(written["url"]), str(written["credential"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
