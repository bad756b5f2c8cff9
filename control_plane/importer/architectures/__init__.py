"""The allow-list of architectures: one file each, registered here."""

from __future__ import annotations

from control_plane.importer.architectures.base import Architecture, GgufArchitecture
from control_plane.importer.architectures.gemma3 import GEMMA3
from control_plane.importer.architectures.llama import LLAMA
from control_plane.importer.architectures.mistral import MISTRAL, MIXTRAL
from control_plane.importer.architectures.qwen import QWEN2, QWEN3, QWEN3_MOE
from control_plane.importer.errors import Unsupported

ARCHITECTURES: tuple[Architecture, ...] = (
    LLAMA,
    MISTRAL,
    QWEN2,
    QWEN3,
    GEMMA3,
    MIXTRAL,
    QWEN3_MOE,
)
GGUF_ARCHITECTURES: tuple[GgufArchitecture, ...] = (LLAMA,)


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


def by_gguf_name(name: str) -> GgufArchitecture:
    """The architecture that a GGUF file names in `general.architecture`.

    Raises:
        Unsupported: it is not on the allow-list.
    """
    for architecture in GGUF_ARCHITECTURES:
        if architecture.gguf_name == name:
            return architecture
    known = ", ".join(each.gguf_name for each in GGUF_ARCHITECTURES)
    raise Unsupported(f"GGUF architecture {name!r} is not supported; supported: {known}")
