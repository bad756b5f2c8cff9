"""The grammar that an answer is held to: of its structure, of demanded calls, or of both."""

from __future__ import annotations

from collections.abc import Iterator

from control_plane.gateway.destination import Destination
from control_plane.gateway.errors import ApiError, bad_request, unavailable
from control_plane.gateway.schemas import ChatRequest, CompletionOptions
from control_plane.gateway.text_models import TextModel
from control_plane.gateway.tokenizer_messages import CheckGrammars
from control_plane.gateway.tokenizer_pool import (
    TokenizerBusy,
    TokenizerDied,
    TokenizerPool,
    TokenizerTimeout,
)
from control_plane.gateway.tools.families import family_for
from control_plane.gateway.tools.grammar import calls_grammar
from infra.tracing.span import span
from infra.wire import Grammar, GrammarKind

_RETRY_S = 2.0
_JSON_KINDS = (GrammarKind.JSON_SCHEMA, GrammarKind.JSON_OBJECT)


def output_grammar(options: CompletionOptions, text: TextModel) -> Grammar | None:
    """None where an answer may be anything."""
    structure = None if options.wanted_structure is None else options.wanted_structure[0]
    if not isinstance(options, ChatRequest) or not options.offered:
        return structure
    if not options.demanded and structure is None:
        return None
    return calls_grammar(
        family_for(text.assets.chat_template),
        options.demanded or options.offered,
        options.several_calls,
        text.special_id,
        instead=None if options.demanded else structure,
    )


async def require_grammar(
    tokenizers: TokenizerPool, options: CompletionOptions, destination: Destination
) -> None:
    """Compile what `output_grammar` gives, before any work is queued.

    Raises ApiError: 400 with the field and what is wrong with it, 503 where we are at fault.
    """
    _require_sense(options)
    grammar = output_grammar(options, destination.text)
    if grammar is None:
        return
    parts = [*_parts(options), (grammar, _whole(options))]
    route = destination.route
    check = CheckGrammars(route.text_digest, route.vocabulary_size, [each for each, _ in parts])
    refused = await _refused(tokenizers, check, destination.text, parts[-1][1])
    for (_, field), reason in zip(parts, refused, strict=True):
        if reason:
            raise _invalid(field, f"no answer can be made to match it: {reason}")


def _require_sense(options: CompletionOptions) -> None:
    structure = options.wanted_structure
    demands = isinstance(options, ChatRequest) and bool(options.demanded)
    if options.ignore_eos and (demands or structure is not None):
        raise _invalid("ignore_eos", "an answer that must match something ends where that does")
    if options.min_tokens and (demands or structure is not None):
        raise _invalid("min_tokens", "what an answer must match says how long it is at least")
    if structure is None or not isinstance(options, ChatRequest) or not options.offered:
        return
    if structure[0].kind not in _JSON_KINDS:
        raise _invalid(structure[1], "with tools an answer can be held to JSON only")


def _parts(options: CompletionOptions) -> Iterator[tuple[Grammar, str]]:
    """What the grammar is made of, and the field that says so: the one that is wrong is named."""
    structure = options.wanted_structure
    if structure is not None:
        yield structure
    if isinstance(options, ChatRequest):
        for place, tool in enumerate(options.tools):
            if tool in options.offered:
                schema = Grammar(GrammarKind.JSON_SCHEMA, tool.parameters_text)
                yield schema, f"tools[{place}].function.parameters"


def _whole(options: CompletionOptions) -> str:
    structure = options.wanted_structure
    return "tools" if structure is None else structure[1]


async def _refused(
    tokenizers: TokenizerPool, check: CheckGrammars, text: TextModel, field: str
) -> list[str]:
    try:
        with span("compile"):
            return await tokenizers.check(check, text.assets)
    except TokenizerTimeout:
        raise _invalid(field, "it takes too long to compile; send a simpler one") from None
    except TokenizerDied:
        raise _invalid(field, "it takes too much memory to compile; send a simpler one") from None
    except TokenizerBusy as error:
        raise unavailable(f"Sorry, {error}.", "tokenizer_busy", _RETRY_S) from error


def _invalid(field: str, reason: str) -> ApiError:
    return bad_request(f"Invalid value for '{field}': {reason}.", field, "invalid_grammar")
