"""Which tokens a grammar allows next, whatever is planned ahead, dropped or resumed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from infra.grammar import MAX_GRAMMAR_CHARS, WHITE_SPACE, GrammarRefused
from infra.wire import Grammar, GrammarKind
from tests.fixtures.byte_tokenizer import ByteTokens
from worker.engine.grammar.compiler import GrammarCompiler
from worker.engine.grammar.masks import GrammarMasks
from worker.engine.grammar.matcher import GrammarBroken

PADDING = 40
"""Rows of the model's head that no token of the tokenizer has."""
DIGITS = Grammar(GrammarKind.REGEX, "[0-9]{3}")
POINT = Grammar(
    GrammarKind.JSON_SCHEMA,
    json.dumps(
        {
            "type": "object",
            "properties": {"x": {"type": "integer"}},
            "required": ["x"],
            "additionalProperties": False,
        }
    ),
)


class Stage:
    """Sequences under grammars, and what they may say next, as text."""

    def __init__(self, tokens: ByteTokens, threads: int = 1) -> None:
        self._tokens = tokens
        self._vocabulary = tokens.count + PADDING
        self.compiler = GrammarCompiler(tokens.directory, self._vocabulary, frozenset({tokens.end}))
        self.masks = GrammarMasks(self._vocabulary, threads)

    def open(self, sequence_id: int, grammar: Grammar, delivered: str = "") -> None:
        self.masks.open(sequence_id, self.compiler.matcher(grammar, self._tokens.ids(delivered)))

    def allowed(self, *rows: tuple[int, int]) -> list[set[str]]:
        bits = self.masks.fill(rows)
        assert bits is not None
        assert bits.dtype == torch.int32
        assert bits.shape == (len(rows), -(-self._vocabulary // 32))
        return [
            {self._tokens.text([token]) for token in _tokens(row) if token < self._vocabulary}
            for row in bits.tolist()
        ]

    def say(self, sequence_id: int, text: str) -> list[int]:
        """Follow a text; what the last token brought."""
        brought: list[int] = []
        for token in self._tokens.ids(text):
            brought = self.masks.take(sequence_id, token)
        return brought


def _tokens(words: list[int]) -> list[int]:
    return [
        32 * place + bit for place, word in enumerate(words) for bit in range(32) if word >> bit & 1
    ]


@pytest.fixture
def stage(byte_tokens: ByteTokens) -> Stage:
    return Stage(byte_tokens)


def test_a_row_may_say_what_its_grammar_says_and_others_may_say_anything(stage: Stage) -> None:
    stage.open(7, DIGITS)
    assert stage.masks.fill([(1, 0), (2, 5)]) is None
    mine, free = stage.allowed((7, 0), (1, 3))
    assert mine == set("0123456789")
    assert {"a", "0", "<|end|>"} <= free


def test_tokens_that_the_tokenizer_does_not_know_are_never_allowed(
    stage: Stage, byte_tokens: ByteTokens
) -> None:
    stage.open(1, Grammar(GrammarKind.REGEX, r"(?s:.*)"))
    bits = stage.masks.fill([(1, 0)])
    assert bits is not None
    assert max(_tokens(bits[0].tolist())) == byte_tokens.end


def test_the_end_is_allowed_exactly_where_the_grammar_accepts(stage: Stage) -> None:
    stage.open(1, Grammar(GrammarKind.REGEX, "a+b?"))
    [before] = stage.allowed((1, 0))
    assert before == {"a"}
    stage.say(1, "a")
    [after] = stage.allowed((1, 1))
    assert after == {"a", "b", "<|end|>"}


def test_an_output_that_can_only_end_brings_its_end(stage: Stage, byte_tokens: ByteTokens) -> None:
    stage.open(1, DIGITS)
    assert stage.say(1, "12") == byte_tokens.ids("2")
    assert stage.say(1, "3") == [*byte_tokens.ids("3"), byte_tokens.end]


def test_tokens_that_were_dropped_are_chosen_again(stage: Stage) -> None:
    stage.open(1, POINT)
    stage.say(1, '{"x":1')
    [ahead] = stage.allowed((1, 6))
    assert "}" in ahead
    [again] = stage.allowed((1, 1))
    assert again == {'"', " ", "\n", "\t", "\r"}
    stage.say(1, '"x":2}')
    [done] = stage.allowed((1, 7))
    assert done == {"<|end|>"}
    [undone] = stage.allowed((1, 6))
    assert "}" in undone


def test_a_resumed_output_goes_on_where_it_was(stage: Stage, byte_tokens: ByteTokens) -> None:
    stage.open(1, POINT, delivered='{"x":')
    [first] = stage.allowed((1, 5))
    assert "7" in first
    assert "}" not in first
    assert stage.say(1, "7}")[-1] == byte_tokens.end
    assert stage.compiler.matcher(POINT, byte_tokens.ids('{"x":7}')).ended


def test_a_delivered_output_that_does_not_match_is_refused(stage: Stage) -> None:
    with pytest.raises(GrammarRefused, match="what was delivered does not match"):
        stage.open(1, POINT, delivered="hello")


def test_a_token_that_the_grammar_forbids_breaks_its_own_sequence_only(stage: Stage) -> None:
    stage.open(1, DIGITS)
    stage.open(2, DIGITS)
    with pytest.raises(GrammarBroken):
        stage.say(1, "x")
    assert stage.allowed((1, 0), (2, 0))[1] == set("0123456789")
    with pytest.raises(GrammarBroken):
        stage.say(1, "1")
    stage.say(2, "1")


def test_a_place_that_its_grammar_has_not_come_to_breaks_the_sequence(stage: Stage) -> None:
    stage.open(1, DIGITS)
    stage.allowed((1, 2))
    with pytest.raises(GrammarBroken, match="tokens 0 to 1"):
        stage.say(1, "1")


def test_sequences_of_one_grammar_stand_where_each_of_them_is(byte_tokens: ByteTokens) -> None:
    stage = Stage(byte_tokens, threads=2)
    for sequence_id in range(8):
        stage.open(sequence_id, Grammar(GrammarKind.REGEX, "abcdefgh"))
        stage.say(sequence_id, "abcdefgh"[:sequence_id])
    rows = stage.allowed(*((sequence_id, sequence_id) for sequence_id in range(8)))
    assert rows == [{letter} for letter in "abcdefgh"]


def test_a_closed_sequence_is_free(stage: Stage) -> None:
    stage.open(1, DIGITS)
    stage.masks.close(1)
    stage.masks.close(99)
    assert stage.masks.fill([(1, 0)]) is None
    assert stage.masks.take(1, 5) == [5]


def test_white_space_in_json_has_an_end(stage: Stage) -> None:
    stage.open(1, POINT)
    stage.say(1, "{" + "\n" * 16)
    [next_] = stage.allowed((1, 17))
    assert next_ == {'"'}, WHITE_SPACE


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (GrammarKind.JSON_SCHEMA, '{"type": "nonsense"}', "Invalid type: nonsense"),
        (GrammarKind.JSON_SCHEMA, '{"type": "array", "uniqueItems": true}', "uniqueItems"),
        (GrammarKind.JSON_SCHEMA, "{", "not JSON"),
        (GrammarKind.JSON_SCHEMA, '{"items":' * 500 + "{}" + "}" * 500, "recursion limit"),
        (GrammarKind.REGEX, "((", "unclosed group"),
        (GrammarKind.LARK, "start: x", 'unknown name: "x"'),
        (GrammarKind.REGEX, "a" * (MAX_GRAMMAR_CHARS + 1), f"at most {MAX_GRAMMAR_CHARS}"),
    ],
)
def test_a_grammar_that_does_not_compile_is_refused_with_the_librarys_reason(
    stage: Stage, kind: GrammarKind, text: str, message: str
) -> None:
    with pytest.raises(GrammarRefused, match=message):
        stage.open(1, Grammar(kind, text))


def test_a_model_that_cannot_follow_a_grammar_says_why(
    byte_tokens: ByteTokens, tmp_path: Path
) -> None:
    def refusal(directory: Path, vocabulary: int, ends: frozenset[int]) -> str:
        with pytest.raises(GrammarRefused) as refused:
            GrammarCompiler(directory, vocabulary, ends).matcher(DIGITS, [])
        return str(refused.value)

    ends = frozenset({byte_tokens.end})
    assert "no tokenizer.json" in refusal(tmp_path, byte_tokens.count, ends)
    assert "no end-of-sequence token" in refusal(
        byte_tokens.directory, byte_tokens.count, frozenset()
    )
    assert "vocab size too small" in refusal(byte_tokens.directory, 100, ends)
    shutil.copyfile(os.devnull, tmp_path / "tokenizer.json")
    assert "cannot follow" in refusal(tmp_path, byte_tokens.count, ends)
