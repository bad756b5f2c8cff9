"""Mistral: `[TOOL_CALLS][{"name": ..., "arguments": ...}, ...]`, and since 2025
`[TOOL_CALLS]name[ARGS]{...}`, one mark a call."""

from __future__ import annotations

import re

from control_plane.gateway.tools.family import Family, Written
from control_plane.gateway.tools.parser import CallParser, Marks

OPENING, ARGUMENTS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
_HEAD = re.compile(r"([\w.-]+)(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*(?=\{)")
_MAX_HEAD_CHARS = 256


class NamedParser(CallParser):
    """`name[ARGS]{...}`; the mark before the arguments may be missing."""

    def may_begin(self, text: str) -> bool:
        return bool(re.match(r"[\w.-]", text))

    def head(self) -> bool:
        found = _HEAD.match(self.buffer)
        if found is not None:
            self.open_call(found[1], found.end())
            return True
        if len(self.buffer) > _MAX_HEAD_CHARS:
            self.leave()
            return True
        return False


MISTRAL = Family(
    name="mistral",
    template_marks=(OPENING,),
    marks=Marks(OPENING),
    first=f"{OPENING}[",
    call=Written('{"name": "{name}", "arguments": ', "}"),
    between=", ",
    last="]",
    short_ids=True,
)

MISTRAL_NAMED = Family(
    name="mistral_named",
    template_marks=(OPENING, ARGUMENTS),
    marks=Marks(OPENING, inner=(ARGUMENTS, CALL_ID), separators=" \t\r\n"),
    call=Written(f"{OPENING}{{name}}{ARGUMENTS}", ""),
    parser=NamedParser,
    short_ids=True,
)
