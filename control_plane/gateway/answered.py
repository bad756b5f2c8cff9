"""A choice as far as it has come."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.gateway.sequence import Finish
from control_plane.gateway.transcript import PromptLogprob
from infra.wire import ShownLogprob


@dataclass(frozen=True, slots=True)
class Answered:
    text: str
    finish: Finish | None
    logprobs: list[ShownLogprob] | None = None
    """None where they are not shown."""
    prompt_logprobs: list[PromptLogprob | None] | None = None
    """As vLLM shows them; None where they are not."""
