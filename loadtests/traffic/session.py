"""How a session of each kind of request goes: what it sends, and what after what."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from loadtests.traffic import prompts
from loadtests.traffic.mix import Kind

CHAT_PATH = "/v1/chat/completions"
COMPLETION_PATH = "/v1/completions"

Send = Callable[[str, str, dict[str, Any]], str | None]
"""(kind, path, body) -> the text of the answer; None if it failed."""


def play(
    kind: Kind,
    send: Send,
    common: dict[str, Any],
    prompt_tokens: int,
    turns: int,
    random: Random,
) -> None:
    """One session: a single request, or the turns of a conversation until one of them fails.

    Args:
        common: what all bodies share (model, limits).
    """
    if kind is Kind.COMPLETION:
        prompt = prompts.text(prompt_tokens, random)
        send(kind, COMPLETION_PATH, {**common, "prompt": prompt})
        return
    messages: list[dict[str, str]] = []
    for _ in range(turns if kind is Kind.CONVERSATION else 1):
        messages.append({"role": "user", "content": prompts.text(prompt_tokens, random)})
        answer = send(kind, CHAT_PATH, {**common, "messages": messages})
        if answer is None:
            return
        messages.append({"role": "assistant", "content": answer})
