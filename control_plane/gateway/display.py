"""What of a sequence its client is to see."""

from __future__ import annotations

from dataclasses import dataclass, field

from infra.wire import DurableRequest, OfferedTools, ShownLogprob


@dataclass(frozen=True, slots=True)
class Display:
    stops: tuple[str, ...] = ()
    include_stop: bool = False
    """Whether the stop string that was met is shown."""
    special_tokens: bool = False
    """Whether special tokens are shown."""
    echo: bool = False
    """Whether the prompt is shown before the output."""
    prompt_only: bool = False
    """Whether the output is not shown, nor counted."""
    logprobs: bool = False
    """Whether log-probabilities are shown."""
    tools: OfferedTools | None = None
    """Read for calls of these: then special tokens that mark calls are shown."""


@dataclass(slots=True)
class Piece:
    """Something new of an answer; true where there is any."""

    text: str = ""
    logprobs: list[ShownLogprob] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.text or self.logprobs)


def display_of(request: DurableRequest) -> Display:
    return Display(
        stops=request.stops,
        include_stop=request.include_stop,
        special_tokens=request.special_tokens,
        echo=request.echo,
        logprobs=request.logprobs,
        tools=request.tools,
    )
