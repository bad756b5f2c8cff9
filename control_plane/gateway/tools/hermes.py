"""Hermes 2 Pro and 3, Qwen2.5, Qwen3: an object between two marks, one block a call; the larger
SmolLM2 write a list in one block."""

from __future__ import annotations

from control_plane.gateway.tools.family import Family, Written
from control_plane.gateway.tools.parser import Marks

OPENING, CLOSING = "<tool_call>", "</tool_call>"

HERMES = Family(
    name="hermes",
    template_marks=(OPENING,),
    marks=Marks(OPENING, CLOSING),
    call=Written(f'{OPENING}\n{{"name": "{{name}}", "arguments": ', f"}}\n{CLOSING}"),
    between="\n",
)
