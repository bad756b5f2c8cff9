"""A grammar that makes a model write calls, as its family writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from control_plane.gateway.tools.family import Family
from control_plane.gateway.tools.schemas import FunctionTool
from infra.grammar import WHITE_SPACE
from infra.wire import Grammar, GrammarKind

MAX_CALLS = 16
"""In one answer that must be calls: a small model may find no end of its own."""

SpecialId = Callable[[str], int | None]
"""The id of a special token; None for what is ordinary text to the model."""


def calls_grammar(
    family: Family,
    tools: Sequence[FunctionTool],
    parallel: bool,
    special_id: SpecialId,
    instead: Grammar | None = None,
) -> Grammar:
    """One call or more of these functions and nothing else, or what `instead` describes.

    `instead` must be of a JSON kind.
    """

    def literal(text: str) -> str:
        return _literal(text, family.shown_tokens, special_id)

    more = f" ({literal(family.between)} call){{0,{MAX_CALLS - 1}}}"
    calls = [
        literal(family.first),
        "call" + (more if parallel and family.between else ""),
        literal(family.last),
    ]
    start = " ".join(each for each in calls if each)
    if instead is not None:
        start += f" | {_json(instead)}"
    each = [
        " ".join(
            [
                literal(family.call.before.replace("{name}", tool.function.name)),
                _schema(tool.parameters_text),
                literal(family.call.after),
            ]
        ).strip()
        for tool in tools
    ]
    return Grammar(GrammarKind.LARK, f"start: {start}\ncall: {' | '.join(each)}\n")


def _literal(text: str, marks: frozenset[str], special_id: SpecialId) -> str:
    """Text in Lark; special tokens are named by id, since no text can produce them."""
    parts = re.split("|".join(f"({re.escape(mark)})" for mark in sorted(marks)), text)
    said: list[str] = []
    for part in filter(None, parts):
        token = special_id(part) if part in marks else None
        said.append(json.dumps(part) if token is None else f"<[{token}]>")
    return " ".join(said)


def _json(grammar: Grammar) -> str:
    return _schema(grammar.text if grammar.kind is GrammarKind.JSON_SCHEMA else '{"type":"object"}')


def _schema(text: str) -> str:
    schema = json.loads(text)
    return f"%json {json.dumps({**schema, 'x-guidance': {'whitespace_pattern': WHITE_SPACE}})}"
