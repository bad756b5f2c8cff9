"""The allow-list of architectures: one file each, registered here."""

from __future__ import annotations

from control_plane.importer.architectures.base import Architecture
from control_plane.importer.architectures.llama import LLAMA
from control_plane.importer.errors import Unsupported

ARCHITECTURES: tuple[Architecture, ...] = (LLAMA,)


def by_hf_name(name: str) -> Architecture:
    """The architecture that a config.json names in `architectures`.

    Raises:
        Unsupported: it is not on the allow-list.
    """
    for architecture in ARCHITECTURES:
        if architecture.hf_name == name:
            return architecture
    known = ", ".join(each.hf_name for each in ARCHITECTURES)
    raise Unsupported(f"architecture {name!r} is not supported; supported: {known}")


def by_gguf_name(name: str) -> Architecture:
    """The architecture that a GGUF file names in `general.architecture`.

    Raises:
        Unsupported: it is not on the allow-list.
    """
    for architecture in ARCHITECTURES:
        if architecture.gguf_name == name:
            return architecture
    known = ", ".join(each.gguf_name for each in ARCHITECTURES)
    raise Unsupported(f"GGUF architecture {name!r} is not supported; supported: {known}")
