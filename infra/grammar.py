"""A grammar of the wire as llguidance reads it, within the bounds that both wings keep.

The gateway refuses what does not compile before any work is queued; the worker compiles the same
text under the same limits. What depends on the tokenizer (special tokens by name or number), and
what shows only while an output is followed, fails there and ends its own job with the reason.
"""

from __future__ import annotations

from llguidance import LLMatcher, LLParserLimits

from infra.wire import Grammar, GrammarKind

MAX_GRAMMAR_CHARS = 100_000
"""Compiling takes time quadratic in the properties of a schema: half a second at this size."""
WHITE_SPACE = r"[ \t\n\r]{1,16}"
"""Between the parts of JSON. Without a bound a small model fills its whole answer with it."""
_MAX_REASON_CHARS = 500


class GrammarRefused(ValueError):
    """No output can be held to this grammar; the text is for whoever wrote it."""


def source_of(grammar: Grammar) -> str:
    """The grammar in llguidance's own form.

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
            return LLMatcher.grammar_from_regex(grammar.text)
        case GrammarKind.LARK:
            return LLMatcher.grammar_from_lark(grammar.text)


def limits() -> LLParserLimits:
    """The library's own: milliseconds a token at worst. Its errors tell no state of its parser."""
    return LLParserLimits(verbose_errors=False)


def check(grammar: Grammar) -> None:
    """Compile without a tokenizer.

    Raises:
        GrammarRefused: with the library's reason.
    """
    wrong, said = LLMatcher.validate_grammar_with_warnings(source_of(grammar), limits=limits())
    if wrong:
        raise GrammarRefused(shortened(said[0]))


def shortened(reason: str) -> str:
    """A library's reason, fit for a message."""
    reason = reason.strip()
    return reason if len(reason) <= _MAX_REASON_CHARS else f"{reason[:_MAX_REASON_CHARS]}..."


def _of_schema(text: str) -> str:
    try:
        return LLMatcher.grammar_from_json_schema(
            text, defaults={"whitespace_pattern": WHITE_SPACE}
        )
    except ValueError as error:
        raise GrammarRefused(f"it is not JSON: {shortened(str(error))}") from error
