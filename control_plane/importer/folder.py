"""A model folder that somebody else filled: files are opened by name and never outside of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from control_plane.importer.errors import Corrupt, SourceMissing, UnsafePath

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_JSON_LIMIT_BYTES = 4 << 20


class Folder:
    """Read access to one directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._roots = _roots(path)

    def names(self) -> list[str]:
        return sorted(entry.name for entry in self.path.iterdir())

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def file(self, name: str) -> Path:
        """The real path of a file of this folder.

        Raises:
            UnsafePath: the name or a link leads out of the folder.
            SourceMissing: there is no such file.
        """
        if not _NAME.fullmatch(name):
            raise UnsafePath(
                f"{name!r} is not a plain file name: only files of the folder are read"
            )
        real = (self.path / name).resolve()
        if not any(real.is_relative_to(root) for root in self._roots):
            raise UnsafePath(f"{name} is a link out of {self.path}: put the file itself there")
        if not real.is_file():
            raise SourceMissing(f"{self.path} has no file {name}")
        return real

    def text(self, name: str, limit_bytes: int = _JSON_LIMIT_BYTES) -> str:
        path = self.file(name)
        with path.open("rb") as file:
            body = file.read(limit_bytes + 1)
        if len(body) > limit_bytes:
            raise Corrupt(
                f"{name} is larger than {limit_bytes} bytes: this is not a model's {name}"
            )
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise Corrupt(f"{name} is not UTF-8 text ({error.reason} at {error.start})") from error

    def document(self, name: str) -> dict[str, Any]:
        """A JSON object."""
        return parse_object(self.text(name), name)

    def optional_document(self, name: str) -> dict[str, Any]:
        """A JSON object; empty where there is no such file."""
        return self.document(name) if self.has(name) else {}


def parse_object(text: str | bytes, what: str) -> dict[str, Any]:
    """A JSON object without repeated names.

    Raises:
        Corrupt: it is something else.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"{what} is not valid JSON ({error}): fetch the file again") from error
    if not isinstance(value, dict):
        raise Corrupt(f"{what} must hold a JSON object, not {type(value).__name__}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"name {next(n for n in names if names.count(n) > 1)!r} appears twice")
    return result


def _roots(path: Path) -> list[Path]:
    real = path.resolve()
    # The Hugging Face cache links every file of snapshots/<revision> to blobs/ two levels up.
    if real.parent.name == "snapshots":
        return [real, real.parent.parent / "blobs"]
    return [real]
