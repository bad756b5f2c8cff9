"""Conversations with functions as chat templates take them: as objects or, for those that know no
functions, as text.

The wording is that of the models which learned to call from text (Hermes 2 Pro; Qwen2.5 uses the
same marks).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from control_plane.gateway.tools.hermes import CLOSING, OPENING

_OFFER = f"""You can call functions. Their signatures:
<tools>
{{signatures}}
</tools>
To call one, write its name and its arguments as a JSON object between marks, and nothing else:
{OPENING}
{{{{"name": <name>, "arguments": <arguments>}}}}
{CLOSING}"""


def as_objects(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Templates write arguments as JSON themselves, so they get the object that a text is."""
    return [
        {**message, "tool_calls": [_with_object(call) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else dict(message)
        for message in messages
    ]


def _with_object(call: Mapping[str, Any]) -> dict[str, Any]:
    text = call["function"]["arguments"]
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError):
        arguments = text
    return {**call, "function": {**call["function"], "arguments": arguments}}


def as_text(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The same conversation with functions, calls and results as text of its messages."""
    told: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "tool":
            _add_result(told, str(message["content"]))
        else:
            told.append(_without_calls(message))
    return _with_offer(told, tools) if tools else told


def _with_offer(
    messages: list[dict[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    signatures = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    offer = _OFFER.format(signatures=signatures)
    if messages and messages[0]["role"] == "system":
        system = {**messages[0], "content": f"{messages[0]['content']}\n\n{offer}"}
        return [system, *messages[1:]]
    return [{"role": "system", "content": offer}, *messages]


def _without_calls(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return dict(message)
    written = [
        f"{OPENING}\n{json.dumps(call['function'], ensure_ascii=False)}\n{CLOSING}"
        for call in calls
    ]
    content = "\n".join([text for text in [message["content"]] if text] + written)
    return {"role": message["role"], "content": content}


def _add_result(told: list[dict[str, Any]], content: str) -> None:
    """Results are what the user says next: templates without functions know no third party."""
    result = f"<tool_response>\n{content}\n</tool_response>"
    if told and told[-1]["role"] == "user":
        told[-1] = {**told[-1], "content": f"{told[-1]['content']}\n{result}"}
    else:
        told.append({"role": "user", "content": result})
