"""Grammars of the wire, for a model's tokens."""

from __future__ import annotations

import json

import pytest

from infra.gbnf import is_gbnf
from infra.grammar import GrammarRefused, compiled, grammar_tokens
from infra.wire import Grammar, GrammarKind
from tests.fixtures.byte_tokenizer import ByteTokens


def matches(byte_tokens: ByteTokens, grammar: Grammar, text: str) -> bool:
    tokenizer_json = (byte_tokens.directory / "tokenizer.json").read_text()
    known = grammar_tokens(tokenizer_json, byte_tokens.count, [byte_tokens.end])
    matcher = compiled(grammar, known)
    tokens = [*byte_tokens.ids(text), byte_tokens.end]
    return bool(matcher.validate_tokens(tokens) == len(tokens))


@pytest.mark.parametrize("kind", ["regex", "pattern"])
def test_classes_of_a_regex_are_those_of_ecmascript(byte_tokens: ByteTokens, kind: str) -> None:
    def fits(regex: str, text: str) -> bool:
        if kind == "regex":
            return matches(byte_tokens, Grammar(GrammarKind.REGEX, regex), text)
        schema = json.dumps({"type": "string", "pattern": f"^{regex}$"})
        return matches(byte_tokens, Grammar(GrammarKind.JSON_SCHEMA, schema), f'"{text}"')

    arabic_three = "\u0663"
    assert fits(r"\d", "3") and not fits(r"\d", arabic_three)
    assert fits(r"[\d.]+", "3.1") and not fits(r"[\d.]", arabic_three)
    assert fits(r"\D", arabic_three)
    assert fits(r"\w", "a") and not fits(r"\w", "é")
    assert fits(r"\s", "\u00a0")
    assert fits(r"a/b", "a/b")


def test_gbnf_says_the_same_as_lark(byte_tokens: ByteTokens) -> None:
    gbnf = Grammar(GrammarKind.LARK, 'root ::= item+ # some\nitem ::= "- " [a-z]{1,3} "\\n"\n')
    assert matches(byte_tokens, gbnf, "- ab\n- c\n")
    assert not matches(byte_tokens, gbnf, "- abcd\n")
    assert not matches(byte_tokens, gbnf, "")


def test_lark_that_speaks_of_gbnf_is_lark(byte_tokens: ByteTokens) -> None:
    lark = 'start: "root ::= x"'
    assert not is_gbnf(lark)
    assert matches(byte_tokens, Grammar(GrammarKind.LARK, lark), "root ::= x")


@pytest.mark.parametrize("regex", ["[a&&b]", "a[^\\s\\S]"])
def test_a_grammar_that_nothing_matches_is_refused(byte_tokens: ByteTokens, regex: str) -> None:
    with pytest.raises(GrammarRefused, match="no text matches it"):
        matches(byte_tokens, Grammar(GrammarKind.REGEX, regex), "")
