"""The text side of a registered model: one file, `text.json`, that holds `wire.TextAssets`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer

from control_plane.importer.errors import Corrupt, SourceMissing
from infra.wire import TextAssets

TEXT_FILE = "text.json"
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<|eot|>")


def encode_text_assets(assets: TextAssets) -> bytes:
    return msgspec.json.encode(assets)


def read_text_assets(model_dir: Path) -> TextAssets:
    """What an import wrote.

    Raises:
        SourceMissing: the directory is not a registered model.
        Corrupt: the file is not what an import writes.
    """
    path = model_dir / TEXT_FILE
    try:
        body = path.read_bytes()
    except FileNotFoundError as error:
        raise SourceMissing(f"{model_dir} has no {TEXT_FILE}: import the model again") from error
    return decode_text_assets(body, str(path))


def decode_text_assets(body: bytes, where: str) -> TextAssets:
    """Raises Corrupt: this is not what an import writes."""
    try:
        return msgspec.json.decode(body, type=TextAssets)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{where} is damaged ({error}): import the model again") from error


def end_ids(tokenizer: Tokenizer, template: str, named: Iterable[int]) -> tuple[int, ...]:
    """The tokens that end an answer: those the model names, and its template's end of turn."""
    turns = (tokenizer.token_to_id(text) for text in _TURN_ENDS if text in template)
    return tuple(sorted({*named, *(number for number in turns if number is not None)}))


def check_ids(tokenizer: Tokenizer, ids: Iterable[int], config: Mapping[str, Any]) -> None:
    """Raises `Corrupt` where the tokenizer can say a token that the model does not have."""
    vocabulary_size = config["vocab_size"]
    highest = max([*tokenizer.get_vocab(with_added_tokens=True).values(), *ids])
    if highest >= vocabulary_size:
        raise Corrupt(
            f"the tokenizer has token {highest}, the model only {vocabulary_size}: "
            "they do not belong together"
        )
