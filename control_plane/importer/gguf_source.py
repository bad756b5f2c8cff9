"""A GGUF file as a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from control_plane.importer import architectures, gguf_tokenizer
from control_plane.importer.checkpoint import Checkpoint
from control_plane.importer.errors import Corrupt
from control_plane.importer.gguf_header import read_header
from control_plane.importer.gguf_weights import GgufWeights
from control_plane.importer.text_assets import check_ids, end_ids
from infra.wire import TextAssets


def read_gguf(path: Path) -> Checkpoint:
    """Read and check everything but the weights themselves.

    Raises:
        ImportRefused: the file cannot be served; the message says why.
    """
    header = read_header(path)
    metadata = header.metadata
    architecture = architectures.by_gguf_name(str(metadata.get("general.architecture", "")))
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    config = architecture.config_from_gguf(metadata, shapes)
    weights = GgufWeights(path, header, architecture, config)
    tokenizer = gguf_tokenizer.build_tokenizer(metadata)
    text = _text(metadata, tokenizer)
    check_ids(tokenizer, text.eos_token_ids, config)
    special = {
        f"{name}_token_id": found[0]
        for name, key in (("bos", "bos_token_id"), ("pad", "padding_token_id"))
        if (found := gguf_tokenizer.token(metadata, key)) is not None
    }
    ends = {"eos_token_id": list(text.eos_token_ids)}
    return Checkpoint(
        architecture=architecture,
        config={**config, **special, **ends},
        generation={**special, **ends},
        text=text,
        tensors=weights,
        parameters=weights.parameters,
    )


def _text(metadata: Mapping[str, Any], tokenizer: Tokenizer) -> TextAssets:
    template = metadata.get("tokenizer.chat_template", "")
    if not isinstance(template, str):
        raise Corrupt("tokenizer.chat_template is not a text")
    ends = [
        found
        for key in ("eos_token_id", "eot_token_id")
        if (found := gguf_tokenizer.token(metadata, key)) is not None
    ]
    bos = gguf_tokenizer.token(metadata, "bos_token_id")
    return TextAssets(
        tokenizer_json=tokenizer.to_str(),
        chat_template=template,
        bos_token=bos[1] if bos else "",
        eos_token=ends[0][1] if ends else "",
        eos_token_ids=end_ids(tokenizer, template, [number for number, _ in ends]),
        add_bos=gguf_tokenizer.adds_bos(metadata),
    )
