"""A grammar of the wire as llguidance reads it, within the bounds that both wings keep.

The gateway refuses what does not compile for the model's tokens before any work is queued; the
worker compiles the same text for the same tokens under the same limits. What shows only while an
output is followed fails there and ends its own job with the reason.
"""

from __future__ import annotations

from collections.abc import Collection

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, regex_to_lark

from infra.gbnf import NotGbnf, is_gbnf, lark_of
from infra.wire import Grammar, GrammarKind

MAX_GRAMMAR_CHARS = 100_000
"""Compiling takes time quadratic in the properties of a schema: half a second at this size."""
WHITE_SPACE = r"[ \t\n\r]{1,16}"
"""Between the parts of JSON. Without a bound a small model fills its whole answer with it."""
_MAX_REASON_CHARS = 500
_SILENT = 0
_ECMASCRIPT = "dw"


class GrammarRefused(ValueError):
    """No output can be held to this grammar; the text is for whoever wrote it."""


def source_of(grammar: Grammar) -> str:
    """The grammar in llguidance's own form.

    `\\d` and `\\w` are ASCII and `\\s` is Unicode's white space, in a regex as in the patterns of a
    JSON schema: as in ECMAScript, which JSON Schema refers to.

    Raises:
        GrammarRefused: it is too long, or not JSON where it should be.
    """
    if len(grammar.text) > MAX_GRAMMAR_CHARS:
        raise GrammarRefused(
            f"it has {len(grammar.text)} characters; at most {MAX_GRAMMAR_CHARS} are compiled"
        )
    match grammar.kind:
        case GrammarKind.JSON_SCHEMA:
            return _of_schema(grammar.text)
        case GrammarKind.JSON_OBJECT:
            return _of_schema('{"type": "object"}')
        case GrammarKind.REGEX:
            return LLMatcher.grammar_from_regex(regex_to_lark(grammar.text, _ECMASCRIPT))
        case GrammarKind.LARK:
            return LLMatcher.grammar_from_lark(_lark(grammar.text))


def limits() -> LLParserLimits:
    """The library's own: milliseconds a token at worst. Its errors tell no state of its parser."""
    return LLParserLimits(verbose_errors=False)


def grammar_tokens(
    tokenizer_json: str, vocabulary: int, end_tokens: Collection[int]
) -> LLTokenizer:
    """A model's tokens as grammars need them; some tenths of a second.

    Args:
        tokenizer_json: the `tokenizers` library's own serialisation.
        vocabulary: width of the logits, which may exceed the tokenizer's; tokens that it does not
            know are never allowed.
        end_tokens: those that end an output.

    Raises:
        GrammarRefused: no grammar can be followed with these tokens.
    """
    ends = sorted(end_tokens)
    if not ends:
        raise GrammarRefused(
            "this model names no end-of-sequence token, so no output could end where its "
            "grammar does: import the model with an eos_token_id"
        )
    try:
        return LLTokenizer(tokenizer_json, n_vocab=vocabulary, eos_token=ends)
    except ValueError as error:
        reason = shortened(str(error))
        raise GrammarRefused(f"the model's tokenizer cannot follow one: {reason}") from error


def compiled(grammar: Grammar, tokens: LLTokenizer) -> LLMatcher:
    """A matcher before its first token, for which there is a choice.

    Raises:
        GrammarRefused: with the library's reason, or because nothing matches the grammar.
    """
    matcher = LLMatcher(tokens, source_of(grammar), log_level=_SILENT, limits=limits())
    if matcher.is_error():
        raise GrammarRefused(shortened(matcher.get_error()))
    matcher.compute_bitmask()
    if matcher.is_error():
        raise GrammarRefused(f"no text matches it ({shortened(matcher.get_error())})")
    return matcher


def shortened(reason: str) -> str:
    """A library's reason, fit for a message."""
    reason = reason.strip()
    return reason if len(reason) <= _MAX_REASON_CHARS else f"{reason[:_MAX_REASON_CHARS]}..."


def _lark(text: str) -> str:
    try:
        return lark_of(text) if is_gbnf(text) else text
    except NotGbnf as error:
        raise GrammarRefused(shortened(str(error))) from error


def _of_schema(text: str) -> str:
    try:
        return LLMatcher.grammar_from_json_schema(
            text, defaults={"whitespace_pattern": WHITE_SPACE}
        )
    except ValueError as error:
        raise GrammarRefused(f"it is not JSON: {shortened(str(error))}") from error
