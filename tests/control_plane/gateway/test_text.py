"""Tokens to text and stop strings: what is streamed is what the whole would have been."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from control_plane.gateway.detokenizer import Detokenizer, detokenize, special_token_ids
from control_plane.gateway.stop_strings import StopStrings
from tests.control_plane.gateway.conftest import build_tokenizer

BYTES = build_tokenizer()
HALF_CHARACTERS = BYTES.encode("é—🙂", add_special_tokens=False).ids


def build_sentencepiece() -> Tokenizer:
    """Like Llama 2's: words with a leading space mark, and bytes for what is not in the list."""
    words = ["<unk>", "<s>", "▁", "▁a", "▁the", "b", "é", "▁b"]
    vocabulary = {word: index for index, word in enumerate(words)}
    vocabulary |= {f"<0x{byte:02X}>": len(words) + byte for byte in range(256)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<s>"])
    return tokenizer


SENTENCEPIECE = build_sentencepiece()


def stream(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer, special_token_ids(tokenizer))
    return [*(detokenizer.push(each) for each in ids), detokenizer.flush()]


@given(
    st.lists(
        st.integers(0, BYTES.get_vocab_size() - 1) | st.sampled_from(HALF_CHARACTERS), max_size=200
    )
)
def test_the_pieces_of_any_tokens_join_to_the_decoding_of_the_whole(ids: list[int]) -> None:
    assert "".join(stream(BYTES, ids)) == detokenize(BYTES, ids)


@given(st.text(max_size=100))
def test_no_piece_of_a_text_has_half_a_character(text: str) -> None:
    ids = BYTES.encode(text, add_special_tokens=False).ids
    pieces = stream(BYTES, ids)
    assert "".join(pieces) == text
    assert "".join(pieces[:-1]).count("\ufffd") <= text.count("\ufffd")


@given(st.lists(st.sampled_from(["a", "the", "é", "b", " ", "🙂", "<s>", "界"]), max_size=40))
def test_sentencepiece_spaces_and_bytes_are_kept(words: list[str]) -> None:
    ids = [
        each for word in words for each in SENTENCEPIECE.encode(word, add_special_tokens=False).ids
    ]
    assert "".join(stream(SENTENCEPIECE, ids)) == detokenize(SENTENCEPIECE, ids)


def test_noise_stays_cheap_and_exact() -> None:
    """Bytes that never become a character must not be decoded again for each token."""
    lead = BYTES.encode("🙂", add_special_tokens=False).ids[0]
    detokenizer = Detokenizer(BYTES, frozenset())
    pieces = [detokenizer.push(lead) for _ in range(5000)]
    assert len(detokenizer._window) <= 65
    assert "".join(pieces) + detokenizer.flush() == detokenize(BYTES, [lead] * 5000)


def test_special_tokens_are_not_shown() -> None:
    [end] = BYTES.encode("<|end|>").ids
    euro = BYTES.encode("€", add_special_tokens=False).ids
    assert "".join(stream(BYTES, [euro[0], end, *euro[1:], end])) == "€"


def cut(text: str, stops: list[str]) -> tuple[str, bool]:
    """The specification, a character at a time."""
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


@settings(max_examples=300)
@given(
    st.lists(st.text("abc", max_size=4), max_size=12),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=4),
)
def test_stop_strings_cut_alike_however_the_text_is_split(
    pieces: list[str], stops: list[str]
) -> None:
    matcher = StopStrings(stops)
    shown = ""
    for piece in pieces:
        shown += matcher.push(piece)
        assert "".join(pieces).startswith(shown)
        if matcher.stopped:
            break
    if not matcher.stopped:
        shown += matcher.flush()
    assert (shown, matcher.stopped) == cut("".join(pieces), stops)


def test_text_that_cannot_begin_a_stop_string_is_shown_at_once() -> None:
    matcher = StopStrings(["\n\nUser:"])
    assert matcher.push("hello") == "hello"
    assert matcher.push("\n") == ""
    assert matcher.push("there") == "\nthere"


@pytest.mark.parametrize("stops", [[], ["never"]])
def test_nothing_is_lost_where_no_stop_string_comes(stops: list[str]) -> None:
    matcher = StopStrings(stops)
    assert matcher.push("nev") + matcher.push("") + matcher.flush() == "nev"
