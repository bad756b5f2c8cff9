"""The manifest of a registered model: that of its tree, and what an import found out."""

from __future__ import annotations

import msgspec

from infra.storage.tree import TreeManifest


class Manifest(TreeManifest, frozen=True):
    """What a model directory holds besides this manifest."""

    architecture: str
    parameters: int
    max_context_tokens: int
    vocabulary_size: int
    text_digest: str
    weights_root: str
    """The root of the package's index."""
    quantization: str


def encode_manifest(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2)
