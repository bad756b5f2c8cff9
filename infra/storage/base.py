"""What an object store is: whole directories under keys, and a URI that finds them again."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")

Moved = Callable[[int], None]
"""Called from any thread with the bytes that were moved since the last call (below zero where some
must be moved again). What it raises ends the transfer."""


class StorageError(RuntimeError):
    """The store cannot do what was asked; the message says what to change."""


class BadKey(StorageError, ValueError):
    """A key or URI that the store must not follow."""


class NotStored(StorageError, LookupError):
    """Nothing lies under this key or URI."""


class Damaged(StorageError):
    """What lies there is not what its manifest says."""


class DirectoryTaken(StorageError):
    """The key already holds a tree; trees are immutable, delete it first."""


class StorageDenied(StorageError):
    """The store does not let us."""


class StorageAway(StorageError):
    """The store did not answer, or not sensibly, although it was asked several times."""


class Storage(Protocol):
    """Immutable directory trees by key. A key is one or more names joined by `/`.

    Every method raises `BadKey` for a key that climbs out of the store, and those that reach a
    server `StorageDenied` and `StorageAway`.
    """

    def staging(self) -> AbstractContextManager[Path]:
        """A fresh local directory, to be filled and then `put`; it is gone afterwards."""

    def put(self, key: str, directory: Path, moved: Moved | None = None) -> str:
        """Move a finished directory into the store, all or nothing, and return its URI.

        Raises:
            DirectoryTaken: the key already holds a tree.
        """

    def exists(self, key: str) -> bool:
        """Whether a whole tree lies there."""

    def verify(self, key: str) -> None:
        """Hold what lies there against its manifest.

        Raises:
            NotStored: nothing lies there.
            Damaged: something else lies there.
        """

    def uri(self, key: str) -> str:
        """Where the key lies, or would lie."""

    def keys(self) -> list[str]:
        """Every one-name key under which anything lies, whole or not; sorted."""

    def size_bytes(self, key: str) -> int:
        """Bytes of all that lies under a key; 0 where nothing does."""

    def delete(self, key: str) -> None:
        """Remove what lies there; a missing tree is not an error. Readers see all or nothing."""


def ignore(_moved_bytes: int) -> None:
    """The `Moved` of a caller who does not count."""


def is_name(name: str) -> bool:
    """Whether this can be one name of a key."""
    return _NAME.fullmatch(name) is not None


def names_of(key: str) -> list[str]:
    """The names of a key.

    Raises:
        BadKey: it is none.
    """
    names = key.split("/")
    if not all(is_name(name) for name in names):
        raise BadKey(f"{key!r} is not a key: names of letters, digits, '.', '_' and '-'")
    return names
