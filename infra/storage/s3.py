"""The object store of a cloud: trees as objects below one prefix of a bucket.

The objects of a tree lie below `<prefix>/<key>/`. Its manifest is written last and deleted first:
a tree is whole exactly while that lies there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra.storage.base import Damaged, DirectoryTaken, Moved, ignore, is_name, names_of
from infra.storage.directory import DirectoryStorage
from infra.storage.s3_client import (
    Counting,
    code_of,
    is_absent,
    our_errors,
    s3_client,
    transfers,
)
from infra.storage.s3_location import S3Location, parse_s3
from infra.storage.tree import (
    MANIFEST_FILE,
    TreeManifest,
    parse_manifest,
    read_manifest_body,
    read_tree,
)

_DELETED_AT_ONCE = 1000
_SMALL_BYTES = 64 << 20


class S3Storage:
    """`Storage` on S3 or what speaks its protocol; see there for what the methods promise.

    A tree must carry a manifest (`infra.storage.tree`) and hold plain files only.
    """

    def __init__(self, location: S3Location, scratch: Path, endpoint: str = "") -> None:
        self.location = location
        self._scratch = scratch
        self._client = s3_client(endpoint)

    @classmethod
    def around(cls, uri: str, scratch: Path, endpoint: str = "") -> tuple[S3Storage, str]:
        """The store in which a tree lies, and the tree's key there. Raises BadKey."""
        location, key = parse_s3(uri).split()
        return cls(location, scratch, endpoint), key

    @contextmanager
    def staging(self) -> Iterator[Path]:
        with DirectoryStorage(self._scratch).staging() as path:
            yield path

    def put(self, key: str, directory: Path, moved: Moved | None = None) -> str:
        place = self._place(key)
        if self.exists(key):
            raise DirectoryTaken(f"{place.uri} is already stored; delete it first")
        manifest = read_tree(directory)
        counting = Counting(moved or ignore)
        with our_errors(place), transfers(self._client) as manager:
            writing = [
                manager.upload(
                    str(directory / file.name),
                    place.bucket,
                    place.folder + file.name,
                    subscribers=[counting],
                )
                for file in manifest.files
            ]
            for each in writing:
                each.result()
        self._publish(place, read_manifest_body(directory))
        shutil.rmtree(directory)
        return self.uri(key)

    def exists(self, key: str) -> bool:
        place = self._place(key)
        with our_errors(place):
            try:
                self._client.head_object(Bucket=place.bucket, Key=place.folder + MANIFEST_FILE)
            except ClientError as error:
                if is_absent(error):
                    return False
                raise
        return True

    def manifest(self, key: str) -> TreeManifest:
        """Raises NotStored, Damaged."""
        return parse_manifest(self.read(key, MANIFEST_FILE), f"{self.uri(key)}/{MANIFEST_FILE}")

    def verify(self, key: str) -> None:
        """Compares sizes: S3 answers for the content of what it has acknowledged."""
        lying = dict(self._objects(self._place(key)))
        for file in self.manifest(key).files:
            if lying.get(self._place(key).folder + file.name) != file.size_bytes:
                raise Damaged(f"{self.uri(key)}/{file.name} is not what its manifest says")

    def uri(self, key: str) -> str:
        return self._place(key).uri

    def keys(self) -> list[str]:
        # By their objects: some stores list folders that hold none.
        below = (key.removeprefix(self.location.folder) for key, _ in self._objects(self.location))
        names = {name.split("/")[0] for name in below if "/" in name}
        return sorted(name for name in names if is_name(name))

    def size_bytes(self, key: str) -> int:
        return sum(size for _, size in self._objects(self._place(key)))

    def delete(self, key: str) -> None:
        place = self._place(key)
        with our_errors(place):
            self._client.delete_object(Bucket=place.bucket, Key=place.folder + MANIFEST_FILE)
            self._end_uploads(place)
            names = [name for name, _ in self._objects(place)]
            for start in range(0, len(names), _DELETED_AT_ONCE):
                part = [{"Key": name} for name in names[start : start + _DELETED_AT_ONCE]]
                answer = self._client.delete_objects(
                    Bucket=place.bucket, Delete={"Objects": part, "Quiet": True}
                )
                for left in answer.get("Errors", []):
                    raise ClientError({"Error": left}, "DeleteObjects")

    def read(self, key: str, name: str) -> bytes:
        """One small file of a tree. Raises NotStored; Damaged where it is no small one."""
        place = self._place(key)
        with our_errors(place.below(name)):
            answer = self._client.get_object(Bucket=place.bucket, Key=place.folder + name)
            if answer["ContentLength"] > _SMALL_BYTES:
                raise Damaged(f"{place.uri}/{name} has {answer['ContentLength']} bytes")
            body: bytes = answer["Body"].read()
        return body

    def download(
        self,
        key: str,
        names: list[str],
        folder: Path,
        moved: Moved = ignore,
        arrived: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """Write files of a tree into a folder; each appears there when it is whole."""
        place = self._place(key)
        with our_errors(place), transfers(self._client) as manager:
            reading = [
                manager.download(
                    place.bucket,
                    place.folder + name,
                    str(folder / name),
                    subscribers=[Counting(moved)],
                )
                for name in names
            ]
            for name, each in zip(names, reading, strict=True):
                each.result()
                arrived(name)

    def _publish(self, place: S3Location, manifest: bytes) -> None:
        wanted: dict[str, Any] = {
            "Bucket": place.bucket,
            "Key": place.folder + MANIFEST_FILE,
            "Body": manifest,
        }
        with our_errors(place):
            try:
                self._client.put_object(**wanted, IfNoneMatch="*")
            except ClientError as error:
                if code_of(error) == "PreconditionFailed":
                    raise DirectoryTaken(f"{place.uri} was stored just now") from error
                if code_of(error) not in ("NotImplemented", "InvalidArgument"):
                    raise
                # A store without conditional writes: equal keys hold equal content anyway.
                self._client.put_object(**wanted)

    def _end_uploads(self, place: S3Location) -> None:
        """What a killed import had begun to write in parts would be paid for and never seen."""
        answer = self._client.list_multipart_uploads(Bucket=place.bucket, Prefix=place.folder)
        for each in answer.get("Uploads") or []:
            self._client.abort_multipart_upload(
                Bucket=place.bucket, Key=each["Key"], UploadId=each["UploadId"]
            )

    def _objects(self, place: S3Location) -> Iterator[tuple[str, int]]:
        """(key, bytes) of everything below."""
        with our_errors(place):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=place.bucket, Prefix=place.folder):
                for each in page.get("Contents", []):
                    yield str(each["Key"]), int(each["Size"])

    def _place(self, key: str) -> S3Location:
        return self.location.below("/".join(names_of(key)))


def list_files(location: S3Location, endpoint: str) -> dict[str, tuple[int, str]]:
    """(bytes, ETag) of every object right below a prefix, by its name there.

    Raises:
        NotStored: there is no such bucket.
    """
    client = s3_client(endpoint)
    found = {}
    with our_errors(location):
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=location.bucket, Prefix=location.folder, Delimiter="/"
        )
        for page in pages:
            for each in page.get("Contents", []):
                name = str(each["Key"]).removeprefix(location.folder)
                found[name] = (int(each["Size"]), str(each["ETag"]))
    return found


def download_file(
    location: S3Location, name: str, target: Path, moved: Moved, endpoint: str
) -> None:
    """One object right below a prefix. Raises NotStored, StorageDenied, StorageAway."""
    with our_errors(location.below(name)), transfers(s3_client(endpoint)) as manager:
        manager.download(
            location.bucket,
            location.folder + name,
            str(target),
            subscribers=[Counting(moved)],
        ).result()
