"""Token ids to text, piece by piece, so that the pieces joined are the decoding of the whole."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer

_REPLACEMENT = "\ufffd"
_MAX_WINDOW_TOKENS = 64
_UNFINISHED_TOKENS = 4
"""More tokens than a UTF-8 character that lacks bytes can span."""


class Detokenizer:
    """Decodes a moving window that starts where a character starts.

    The window keeps the tokens of the last complete piece, since decoders treat the first token of
    a text in a way of their own (SentencePiece drops its space). Text that ends in U+FFFD may be
    half a character and is held back until it is whole or the output ends.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        special_ids: frozenset[int],
        lengths: dict[int, int] | None = None,
    ) -> None:
        """`lengths`: where to keep how many characters a token alone is, for all outputs of a
        tokenizer."""
        self._tokenizer = tokenizer
        self._lengths = {} if lengths is None else lengths
        self._special_ids = special_ids
        self._window: list[int] = []
        self._piece_start = 0
        """Where in the window the tokens begin whose text is not complete yet."""
        self._given = 0
        """Characters of the window's text that have been given out."""

    def push(self, token: int) -> str:
        """The text that this token completes; often empty."""
        if token in self._special_ids:
            return ""
        self._window.append(token)
        text = self._decode(self._window)
        if not text.endswith(_REPLACEMENT):
            piece = text[self._given :]
            self._move_window()
            return piece
        stable = text.rstrip(_REPLACEMENT)
        piece = stable[self._given :]
        self._given = max(self._given, len(stable))
        if len(self._window) > _MAX_WINDOW_TOKENS:
            piece += self._cut_noise(text)
        return piece

    def flush(self) -> str:
        """What is still held back: at the end of the output, half a character stays half."""
        piece = self._decode(self._window)[self._given :]
        self._window, self._piece_start, self._given = [], 0, 0
        return piece

    def _move_window(self) -> None:
        del self._window[: self._piece_start]
        self._piece_start = len(self._window)
        self._given = self._window_length()

    def _window_length(self) -> int:
        """Characters of the window; nearly always it is one token, one of not so many."""
        if len(self._window) != 1:
            return len(self._decode(self._window))
        token = self._window[0]
        length = self._lengths.get(token)
        if length is None:
            length = self._lengths[token] = len(self._decode(self._window))
        return length

    def _cut_noise(self, text: str) -> str:
        """Bytes that never become characters must not make every further token dearer.

        Only the last replacement character can still change: an unfinished character is shown as
        one, however many bytes it has.
        """
        piece = text[self._given : -1]
        self._window = self._window[-_UNFINISHED_TOKENS:]
        self._piece_start = 0
        self._given = len(self._decode(self._window)) - 1
        return piece

    def _decode(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=False)


def special_token_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Ids that never become text (what `skip_special_tokens` leaves out)."""
    added = tokenizer.get_added_tokens_decoder()
    return frozenset(token_id for token_id, token in added.items() if token.special)


def detokenize(tokenizer: Tokenizer, tokens: Iterable[int]) -> str:
    """The decoding of a whole output: the specification of `Detokenizer`."""
    return tokenizer.decode(list(tokens), skip_special_tokens=True)
