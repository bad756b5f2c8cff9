"""A `tokenizers.Tokenizer` from GGUF metadata, for byte-level BPE vocabularies.

It encodes and decodes as transformers' conversion of the same file does. That includes `smollm`,
where transformers (5.23) keeps GPT-2's split although llama.cpp and the original tokenizer.json
first cut out every digit: the two differ on white space before a digit ("  1" is `Ġ`, `Ġ`, `1` here
and `ĠĠ`, `1` there). Whoever needs the original's ids imports the Hugging Face directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from control_plane.importer.errors import Corrupt, Unsupported

_CONTROL, _USER_DEFINED = 3, 4

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_GPT2_SPLIT: frozenset[str] = frozenset({"default", "gpt-2", "smollm"})
_SPLITS: dict[str, str] = {
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "dbrx", "smaug-bpe"), _LLAMA3),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), _QWEN2),
    "tekken": _TEKKEN,
}
"""`tokenizer.ggml.pre` to the expression that cuts text before the merges."""


def build_tokenizer(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that the metadata describes.

    Raises:
        Unsupported: not byte-level BPE, or a split that is not known.
        Corrupt: the vocabulary contradicts itself.
    """
    kind = metadata.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise Unsupported(
            f"GGUF tokenizer {kind!r} is not supported (only byte-level BPE, 'gpt2'): "
            "import the Hugging Face directory instead"
        )
    tokens = strings(metadata, "tokenizer.ggml.tokens")
    types = _types(metadata, len(tokens))
    tokenizer = Tokenizer(_bpe(_vocabulary(tokens, types), _merges(metadata)))
    tokenizer.pre_tokenizer = _pre_tokenizer(metadata.get("tokenizer.ggml.pre", "default"))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(_added(tokens, types, _CONTROL))
    tokenizer.add_tokens(_added(tokens, types, _USER_DEFINED))
    tokenizer.post_processor = _post_processor(metadata, tokens)
    return tokenizer


def token(metadata: Mapping[str, Any], key: str) -> tuple[int, str] | None:
    """Id and text of the token that `tokenizer.ggml.<key>` points to; None where it is absent."""
    number = metadata.get(f"tokenizer.ggml.{key}")
    if number is None:
        return None
    tokens = strings(metadata, "tokenizer.ggml.tokens")
    if type(number) is not int or not 0 <= number < len(tokens):
        raise Corrupt(f"tokenizer.ggml.{key} is {number!r}, outside of {len(tokens)} tokens")
    return number, tokens[number]


def strings(metadata: Mapping[str, Any], key: str) -> list[str]:
    value = metadata.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise Corrupt(f"the file has no {key}: convert the model again with its tokenizer")
    return value


def adds_bos(metadata: Mapping[str, Any]) -> bool:
    wanted = metadata.get("tokenizer.ggml.add_bos_token") is True
    return wanted and token(metadata, "bos_token_id") is not None


def _types(metadata: Mapping[str, Any], count: int) -> list[int]:
    types = metadata.get("tokenizer.ggml.token_type", np.ones(count, dtype=np.int32))
    if not isinstance(types, np.ndarray) or len(types) != count:
        raise Corrupt(f"tokenizer.ggml.token_type must name the type of each of {count} tokens")
    numbers: list[int] = types.tolist()
    return numbers


def _vocabulary(tokens: list[str], types: list[int]) -> dict[str, int]:
    spelling = _byte_spelling()
    alphabet = set(spelling.values())
    vocabulary: dict[str, int] = {}
    for number, (text, kind) in enumerate(zip(tokens, types, strict=True)):
        # Some converters write ordinary tokens as plain text rather than in the byte alphabet.
        if kind not in (_CONTROL, _USER_DEFINED) and not set(text) <= alphabet:
            text = "".join(spelling[byte] for byte in text.encode())
        if vocabulary.setdefault(text, number) != number:
            raise Corrupt(f"token {text!r} appears twice in tokenizer.ggml.tokens")
    return vocabulary


def _merges(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    merges: list[tuple[str, str]] = []
    for merge in strings(metadata, "tokenizer.ggml.merges"):
        left, _, right = merge.partition(" ")
        if not left or not right or " " in right:
            raise Corrupt(f"{merge!r} in tokenizer.ggml.merges is not a pair of tokens")
        merges.append((left, right))
    return merges


def _bpe(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> models.BPE:
    try:
        return models.BPE(
            vocab=vocabulary,
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix="",
            fuse_unk=False,
        )
    except Exception as error:  # the library raises nothing narrower
        raise Corrupt(f"the merges do not fit the vocabulary: {error}") from error


def _pre_tokenizer(pre: object) -> pre_tokenizers.PreTokenizer:
    if pre in _GPT2_SPLIT:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    split = _SPLITS.get(pre) if isinstance(pre, str) else None
    if split is None:
        known = ", ".join(sorted({*_GPT2_SPLIT, *_SPLITS}))
        raise Unsupported(
            f"GGUF pre-tokenizer {pre!r} is not known (known: {known}): "
            "import the Hugging Face directory instead"
        )
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _added(tokens: list[str], types: list[int], kind: int) -> list[AddedToken]:
    return [
        AddedToken(text, normalized=False, special=kind == _CONTROL)
        for text, its_kind in zip(tokens, types, strict=True)
        if its_kind == kind
    ]


def _post_processor(metadata: Mapping[str, Any], tokens: list[str]) -> Any:
    bos = token(metadata, "bos_token_id") if adds_bos(metadata) else None
    prefix = f"{tokens[bos[0]]} " if bos else ""
    return processors.TemplateProcessing(
        single=f"{prefix}$A",
        pair=f"{prefix}$A $B:1",
        special_tokens=[(bos[1], bos[0])] if bos else [],
    )


def _byte_spelling() -> dict[int, str]:
    """GPT-2's printable character for each byte."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {
        byte: chr(256 + number) for number, byte in enumerate(moved)
    }
