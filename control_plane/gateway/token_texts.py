"""Single tokens as clients see them: as text and as bytes."""

from __future__ import annotations

import re

from tokenizers import Tokenizer, pre_tokenizers

_REPLACEMENT = "\ufffd"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_MAX_KEPT = 1 << 16

TokenText = tuple[str, bytes]


class TokenTexts:
    """Decodes tokens behind another one: decoders treat the first token of a text in a way of their
    own (SentencePiece drops its space)."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        letters = (tokenizer.token_to_id(each) for each in ("a", "▁a"))
        self._before = [token for token in letters if token is not None][:1]
        self._skip = len(self._decode(self._before))
        self._kept: dict[int, TokenText] = {}

    def __getitem__(self, token: int) -> TokenText:
        """Text and bytes; half a character is U+FFFD as text, and its own bytes."""
        found = self._kept.get(token)
        if found is None:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            found = self._kept[token] = self._read(token)
        return found

    def _read(self, token: int) -> TokenText:
        text = self._decode([*self._before, token])[self._skip :]
        if _REPLACEMENT not in text:
            return text, text.encode()
        name = self._tokenizer.id_to_token(token) or ""
        byte = _BYTE_TOKEN.fullmatch(name)
        if byte:
            return text, bytes([int(byte[1], 16)])
        if name and all(symbol in _BYTE_OF for symbol in name):
            return text, bytes(_BYTE_OF[symbol] for symbol in name)
        return text, text.encode()

    def _decode(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=False)


def _byte_alphabet() -> dict[str, int]:
    """The symbols that stand for bytes in byte-level vocabularies (GPT-2's): printable ones for
    themselves, the others, in their order, from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = {chr(byte): byte for byte in printable}
    symbols |= {chr(0x100 + place): byte for place, byte in enumerate(others)}
    assert set(symbols) == set(pre_tokenizers.ByteLevel.alphabet())
    return symbols


_BYTE_OF = _byte_alphabet()
