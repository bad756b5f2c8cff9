from __future__ import annotations

from pathlib import Path

from control_plane.api.problem import Problem
from infra.settings import Settings
from infra.storage.base import StorageError
from infra.storage.directory import DirectoryStorage, local_path
from infra.storage.opening import open_storage
from infra.storage.tree import MANIFEST_FILE, read_tree


def find_file(settings: Settings, digest: str, name: str) -> Path:
    """Where a file that the model's manifest names, or the manifest, lies. Raises Problem 404."""
    try:
        storage = open_storage(settings)
        if not isinstance(storage, DirectoryStorage):
            raise _absent("this store is read at its own address")
        folder = local_path(storage.uri(digest))
        names = {file.name for file in read_tree(folder).files} | {MANIFEST_FILE}
    except StorageError as error:
        raise _absent(str(error)) from error
    if name not in names:
        raise _absent(f"the model has no file {name!r}")
    return folder / name


def _absent(detail: str) -> Problem:
    return Problem(404, "not-found", detail)
