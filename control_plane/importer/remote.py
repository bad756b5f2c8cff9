"""A source on another machine: what it holds, and which of that is fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from control_plane.importer.errors import SourceMissing, Unsupported
from control_plane.importer.huggingface import PICKLES
from infra.safetensors import INDEX_FILE, WEIGHTS_FILE

TEXT_FILES = frozenset(
    {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
        INDEX_FILE,
    }
)
"""With the safetensors files these are all that is ever fetched: no pickles, no code."""


@dataclass(frozen=True)
class RemoteFile:
    name: str
    size_bytes: int
    sha256: str = ""
    """Empty where the other side does not say."""
    git_sha1: str = ""
    """Git's name of the content, for small files of a repository."""


class Remote(Protocol):
    """One version of one source."""

    source: str
    """What it is called, with its version where it has one."""
    version: str
    """Differs for every content."""
    files: dict[str, RemoteFile]

    def fetch(self, file: RemoteFile, part: Path, moved: Callable[[int], None]) -> None:
        """Write the file into `part`; what `part` holds already may be kept.

        Raises:
            DownloadBroke: it may go well when it is tried again.
            ImportRefused: it will not.
        """


def text_files(remote: Remote) -> list[RemoteFile]:
    return [file for name, file in remote.files.items() if name in TEXT_FILES]


def weight_files(remote: Remote, index: Mapping[str, Any] | None) -> list[RemoteFile]:
    """The safetensors files that make up the model: repositories may hold the same weights twice.

    Raises:
        Unsupported: there are pickles only, or no file that the index names.
        SourceMissing: there are no weights.
    """
    here = [name for name in remote.files if name.endswith(".safetensors") and "/" not in name]
    if index is not None:
        named = index.get("weight_map")
        wanted: Iterable[object] = set(named.values()) if isinstance(named, dict) else ()
        if lost := [name for name in wanted if name not in here]:
            raise Unsupported(f"{remote.source}: {INDEX_FILE} names {lost[0]!r}, which it lacks")
        here = [name for name in here if name in wanted]
    elif WEIGHTS_FILE in here:
        here = [WEIGHTS_FILE]
    if here:
        return [remote.files[name] for name in sorted(here)]
    if any(name.endswith(PICKLES) for name in remote.files):
        raise Unsupported(
            f"{remote.source} has pickled weights only, which could run code and are never "
            "fetched: name a repository with *.safetensors"
        )
    raise SourceMissing(f"{remote.source} has no *.safetensors file")
