"""What an object store is: whole directories under keys, and a URI that finds them again."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class StorageError(RuntimeError):
    """The store cannot do what was asked; the message says what to change."""


class BadKey(StorageError, ValueError):
    """A key or URI that the store must not follow."""


class NotStored(StorageError, LookupError):
    """Nothing lies under this key or URI."""


class DirectoryTaken(StorageError):
    """The key already holds a tree; trees are immutable, delete it first."""


class Storage(Protocol):
    """Immutable directory trees by key. A key is one or more names joined by `/`.

    Every method raises `BadKey` for a key or URI that climbs out of the store.
    """

    def put(self, key: str, directory: Path) -> str:
        """Move a finished directory into the store, all or nothing, and return its URI.

        Raises:
            DirectoryTaken: the key already holds a tree.
        """

    def exists(self, key: str) -> bool: ...

    def uri(self, key: str) -> str:
        """Where the key lies, or would lie."""

    def resolve(self, uri: str) -> Path:
        """The local directory behind a URI of this store.

        Raises:
            NotStored: nothing lies there.
        """

    def keys(self) -> list[str]:
        """Every one-name key, sorted."""

    def delete(self, key: str) -> None:
        """Remove the tree; a missing one is not an error."""
