"""Grammars of the wire, for a model's tokens."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from infra.gbnf import is_gbnf
from infra.grammar import GrammarRefused, compiled, grammar_tokens
from infra.wire import Grammar, GrammarKind

END = "<|end|>"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A token a byte, and an end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    return tokenizer


def matches(tokenizer: Tokenizer, grammar: Grammar, text: str) -> bool:
    end = tokenizer.token_to_id(END)
    matcher = compiled(grammar, grammar_tokens(tokenizer.to_str(), end + 1, [end]))
    tokens = [*tokenizer.encode(text, add_special_tokens=False).ids, end]
    return bool(matcher.validate_tokens(tokens) == len(tokens))


@pytest.mark.parametrize("kind", ["regex", "pattern"])
def test_classes_of_a_regex_are_those_of_ecmascript(tokenizer: Tokenizer, kind: str) -> None:
    def fits(regex: str, text: str) -> bool:
        if kind == "regex":
            return matches(tokenizer, Grammar(GrammarKind.REGEX, regex), text)
        schema = json.dumps({"type": "string", "pattern": f"^{regex}$"})
        return matches(tokenizer, Grammar(GrammarKind.JSON_SCHEMA, schema), f'"{text}"')

    arabic_three = "\u0663"
    assert fits(r"\d", "3") and not fits(r"\d", arabic_three)
    assert fits(r"[\d.]+", "3.1") and not fits(r"[\d.]", arabic_three)
    assert fits(r"\D", arabic_three)
    assert fits(r"\w", "a") and not fits(r"\w", "é")
    assert fits(r"\s", "\u00a0")
    assert fits(r"a/b", "a/b")


def test_gbnf_says_the_same_as_lark(tokenizer: Tokenizer) -> None:
    gbnf = Grammar(GrammarKind.LARK, 'root ::= item+ # some\nitem ::= "- " [a-z]{1,3} "\\n"\n')
    assert matches(tokenizer, gbnf, "- ab\n- c\n")
    assert not matches(tokenizer, gbnf, "- abcd\n")
    assert not matches(tokenizer, gbnf, "")


def test_lark_that_speaks_of_gbnf_is_lark(tokenizer: Tokenizer) -> None:
    lark = 'start: "root ::= x"'
    assert not is_gbnf(lark)
    assert matches(tokenizer, Grammar(GrammarKind.LARK, lark), "root ::= x")


@pytest.mark.parametrize("regex", ["[a&&b]", "a[^\\s\\S]"])
def test_a_grammar_that_nothing_matches_is_refused(tokenizer: Tokenizer, regex: str) -> None:
    with pytest.raises(GrammarRefused, match="no text matches it"):
        matches(tokenizer, Grammar(GrammarKind.REGEX, regex), "")
