"""A model folder in S3 as a source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from control_plane.importer.errors import DownloadBroke, DownloadFailed, NotAllowed, SourceMissing
from control_plane.importer.remote import RemoteFile
from infra.storage.base import NotStored, StorageAway, StorageDenied
from infra.storage.s3 import download_file, list_files
from infra.storage.s3_location import S3Location


class BucketRemote:
    """`Remote` of what lies right below a prefix now."""

    def __init__(self, location: S3Location, endpoint: str) -> None:
        """Raises ImportRefused: nothing lies there, or it cannot be read."""
        self.source = location.uri
        self._location = location
        self._endpoint = endpoint
        try:
            with _our_errors():
                found = list_files(location, endpoint)
        except DownloadBroke as error:
            raise DownloadFailed(str(error)) from error
        if not found:
            raise SourceMissing(f"nothing lies in {location.uri}: name the folder of a model")
        self.files = {name: RemoteFile(name, size) for name, (size, _) in found.items()}
        said = "".join(f"{name}\0{size}\0{tag}\n" for name, (size, tag) in sorted(found.items()))
        self.version = hashlib.sha256(said.encode()).hexdigest()

    def fetch(self, file: RemoteFile, part: Path, moved: Callable[[int], None]) -> None:
        """Parts of a large file come in parallel, so it is all of a file or nothing."""
        part.unlink(missing_ok=True)
        with _our_errors():
            download_file(self._location, file.name, part, moved, self._endpoint)


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except NotStored as error:
        raise SourceMissing(str(error)) from error
    except StorageDenied as error:
        raise NotAllowed(str(error)) from error
    except StorageAway as error:
        raise DownloadBroke(str(error)) from error
