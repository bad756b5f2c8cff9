"""Llama 3.1 to 3.3: the whole answer is `{"name": ..., "parameters": ...}`, sometimes behind
`<|python_tag|>`; more calls follow a semicolon."""

from __future__ import annotations

from control_plane.gateway.tools.family import Family, Written
from control_plane.gateway.tools.parser import Marks

LLAMA = Family(
    name="llama3_json",
    template_marks=("<|start_header_id|>", '"parameters":'),
    marks=Marks("<|python_tag|>", bare=True),
    call=Written('{"name": "{name}", "parameters": ', "}"),
)
