"""From a URL to a store, and from a model's URI to its files, whatever kind of store it is.

boto3 is an extra (`s3`) and slow to import: it is reached with the first s3:// URL.
"""

from __future__ import annotations

from pathlib import Path

from infra.extras import install_command
from infra.settings import Settings
from infra.storage import directory
from infra.storage.base import Moved, NotStored, Storage, StorageError, ignore

_SCHEME = "s3://"


def open_storage(settings: Settings) -> Storage:
    """The store of models that the settings name.

    Raises:
        BadKey: TAMER_STORAGE_URL is neither file:///FOLDER nor s3://BUCKET/PREFIX.
        StorageError: it is S3 and boto3 is not installed.
    """
    if not settings.storage.startswith(_SCHEME):
        return directory.DirectoryStorage(directory.path_of(settings.storage))
    check_s3()
    from infra.storage.s3 import S3Storage
    from infra.storage.s3_location import parse_s3

    return S3Storage(parse_s3(settings.storage), settings.scratch_dir, settings.s3_endpoint)


def local_path(uri: str, settings: Settings, moved: Moved = ignore) -> Path:
    """The local directory of a stored tree; one in S3 is fetched into the cache of this machine.

    Raises:
        BadKey: not a URI of any store.
        NotStored: nothing lies there.
        Damaged: what lies there is not what was stored.
        StorageDenied, StorageAway: S3 could not be read.
    """
    if not uri.startswith(_SCHEME):
        return directory.local_path(uri)
    check_s3()
    from infra.storage.s3 import S3Storage
    from infra.storage.tree_cache import cached

    storage, key = S3Storage.around(uri, settings.scratch_dir, settings.s3_endpoint)
    return cached(storage, key, settings.model_cache_dir, moved)


def read_file(uri: str, name: str, settings: Settings) -> bytes:
    """One small file of a stored tree, without fetching the rest. Raises as `local_path` does."""
    if not uri.startswith(_SCHEME):
        try:
            return (directory.local_path(uri) / name).read_bytes()
        except FileNotFoundError as error:
            raise NotStored(f"{uri} has no {name}: import the model again") from error
    check_s3()
    from infra.storage.s3 import S3Storage

    storage, key = S3Storage.around(uri, settings.scratch_dir, settings.s3_endpoint)
    return storage.read(key, name)


def check_s3() -> None:
    """Raises StorageError: boto3 is not installed here."""
    try:
        import boto3  # noqa: F401
    except ImportError as error:
        said = f"s3:// needs boto3; get it with: {install_command('s3')}"
        raise StorageError(said) from error
