"""Tokenizer, chat template and special tokens of a Hugging Face directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer

from control_plane.importer.errors import Corrupt, SourceMissing
from control_plane.importer.folder import Folder
from control_plane.importer.text_assets import check_ids, end_ids
from infra.wire import TextAssets

_TOKENIZER_LIMIT_BYTES = 128 << 20


def read_text(
    folder: Folder, config: Mapping[str, Any], generation: Mapping[str, Any]
) -> TextAssets:
    """The text side of a directory with a (checked) config.

    Raises:
        SourceMissing: no tokenizer.json.
        Corrupt: it is damaged, or of another model.
    """
    tokenizer = _without_unknown(_tokenizer(folder), config["vocab_size"])
    settings = folder.optional_document("tokenizer_config.json")
    special = folder.optional_document("special_tokens_map.json")
    template = _template(folder, settings)
    bos = _token(settings, special, "bos_token") or _named(tokenizer, config.get("bos_token_id"))
    eos = _token(settings, special, "eos_token") or _named(tokenizer, config.get("eos_token_id"))
    ends = _ids(generation.get("eos_token_id")) or _ids(config.get("eos_token_id"))
    number = tokenizer.token_to_id(eos) if eos else None
    ids = end_ids(tokenizer, template, [*ends, *([] if number is None else [number])])
    check_ids(tokenizer, ids, config)
    return TextAssets(
        tokenizer_json=tokenizer.to_str(),
        chat_template=template,
        bos_token=bos,
        eos_token=eos,
        eos_token_ids=ids,
        add_bos=_adds_bos(tokenizer, settings, bos),
    )


def _tokenizer(folder: Folder) -> Tokenizer:
    if not folder.has("tokenizer.json"):
        raise SourceMissing(
            f"{folder.path} has no tokenizer.json: write one with "
            "transformers.AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
        )
    body = folder.text("tokenizer.json", _TOKENIZER_LIMIT_BYTES)
    try:
        tokenizer = Tokenizer.from_str(body)
    except Exception as error:  # the library raises nothing narrower
        raise Corrupt(f"tokenizer.json is not a tokenizer ({error}): fetch it again") from error
    # What a training run left here would cut or fill prompts.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _without_unknown(tokenizer: Tokenizer, vocabulary_size: int) -> Tokenizer:
    """Drop added tokens that the model has no row for, such as those of images in the text models
    of Gemma 3: a prompt that holds their text is text then."""
    added = tokenizer.get_added_tokens_decoder()
    if all(number < vocabulary_size for number in added):
        return tokenizer
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = [
        token for token in document["added_tokens"] if token["id"] < vocabulary_size
    ]
    return Tokenizer.from_str(json.dumps(document))


def _template(folder: Folder, settings: Mapping[str, Any]) -> str:
    if folder.has("chat_template.jinja"):
        return folder.text("chat_template.jinja")
    match settings.get("chat_template"):
        case None:
            return ""
        case str(template):
            return template
        case [*named]:
            for each in named:
                match each:
                    case {"name": "default", "template": str(template)}:
                        return template
    raise Corrupt("tokenizer_config.json has a chat_template that is neither a text nor named")


def _token(settings: Mapping[str, Any], special: Mapping[str, Any], key: str) -> str:
    match settings.get(key, special.get(key)):
        case str(token) | {"content": str(token)}:
            return token
        case None:
            return ""
    raise Corrupt(f"{key} of the tokenizer is not a token")


def _named(tokenizer: Tokenizer, ids: object) -> str:
    numbers = _ids(ids)
    return (tokenizer.id_to_token(numbers[0]) or "") if numbers else ""


def _ids(value: object) -> list[int]:
    ids: list[Any] = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(number) is int and 0 <= number < 1 << 31 for number in ids):
        raise Corrupt(f"eos_token_id or bos_token_id is {value!r}, which is not a token id")
    return ids


def _adds_bos(tokenizer: Tokenizer, settings: Mapping[str, Any], bos: str) -> bool:
    if not bos:
        return False
    if isinstance(stated := settings.get("add_bos_token"), bool):
        return stated
    # Newer files say it in their post-processor only.
    return tokenizer.encode("a").ids[:1] == [tokenizer.token_to_id(bos)]
