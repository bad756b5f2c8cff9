"""Answers in OpenAI's shapes, whole and in chunks."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from collections.abc import Sequence as Seq
from typing import Any, Protocol

import msgspec

from control_plane.gateway.answered import Answered
from control_plane.gateway.display import Piece
from control_plane.gateway.sequence import Finish
from infra.wire import ShownLogprob


class Counted(Protocol):
    """What usage needs to know of an answer."""

    @property
    def prompt_tokens(self) -> int: ...

    @property
    def output_tokens(self) -> int: ...


def usage(counted: Counted) -> dict[str, int]:
    """A prompt counts once, however many choices it has."""
    prompt, output = counted.prompt_tokens, counted.output_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
    }


class Shape(ABC):
    """One answer: its id, its model, and how its parts are written."""

    id_prefix: str
    whole_object: str
    chunk_object: str

    def __init__(
        self,
        model: str,
        revision_id: str,
        include_usage: bool,
        *,
        answer_id: str = "",
        created_at: int = 0,
    ) -> None:
        """`answer_id` and `created_at`: of an answer that exists; empty: a new one."""
        self.answer_id = answer_id or self.new_id()
        self._head = {
            "id": self.answer_id,
            "created": created_at or int(time.time()),
            "model": model,
            "system_fingerprint": revision_id,
        }
        self.include_usage = include_usage
        # A stream has one chunk a token: what they have in common is encoded once.
        self._before, _, self._after = self._encoded_chunk([], None).rpartition(b"[]")

    @classmethod
    def new_id(cls) -> str:
        return f"{cls.id_prefix}-{secrets.token_hex(12)}"

    @abstractmethod
    def whole_choice(self, index: int, text: str, finish: Finish | None) -> dict[str, Any]: ...

    def opening(self, index: int) -> dict[str, Any] | None:  # noqa: ARG002
        """The choice of the first chunk, before any text; None where the shape has none."""
        return None

    @abstractmethod
    def piece(self, index: int, text: str) -> dict[str, Any] | None:
        """The choice of a chunk of more text; None where it shows nothing yet."""

    @abstractmethod
    def blank(self, index: int) -> dict[str, Any]:
        """The choice of a chunk without text."""

    @abstractmethod
    def logprobs(self, shown: Seq[ShownLogprob]) -> dict[str, Any]:
        """The field `logprobs` of a choice."""

    def news(self, index: int, piece: Piece) -> dict[str, Any] | None:
        """The choice of a chunk of something new; None where there is nothing to show."""
        choice = self.piece(index, piece.text) if piece.text else None
        if not piece.logprobs:
            return choice
        return {**(choice or self.blank(index)), "logprobs": self.logprobs(piece.logprobs)}

    @abstractmethod
    def closing(self, index: int, finish: Finish | None) -> dict[str, Any]: ...

    def whole(self, choices: Iterable[Answered], counted: Counted | None) -> dict[str, Any]:
        """The answer in one piece; `counted` is None where it is not complete."""
        return {
            **self._head,
            "object": self.whole_object,
            "choices": [self._whole(index, each) for index, each in enumerate(choices)],
            "usage": None if counted is None else usage(counted),
        }

    def _whole(self, index: int, answered: Answered) -> dict[str, Any]:
        choice = self.whole_choice(index, answered.text, answered.finish)
        if answered.logprobs is not None:
            choice["logprobs"] = self.logprobs(answered.logprobs)
        if answered.prompt_logprobs is not None:
            choice["prompt_logprobs"] = answered.prompt_logprobs
        return choice

    def chunk(self, choice: dict[str, Any]) -> bytes:
        """One choice of a stream, as JSON."""
        return b"%b[%b]%b" % (self._before, msgspec.json.encode(choice), self._after)

    def usage_chunk(self, counted: Counted) -> bytes:
        return self._encoded_chunk([], usage(counted))

    def _encoded_chunk(self, choices: list[dict[str, Any]], used: dict[str, int] | None) -> bytes:
        body = {**self._head, "object": self.chunk_object, "choices": choices}
        return msgspec.json.encode({**body, "usage": used} if self.include_usage else body)


class ChatShape(Shape):
    id_prefix = "chatcmpl"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def whole(self, choices: Iterable[Answered], counted: Counted | None) -> dict[str, Any]:
        """vLLM shows the prompt of a chat once, beside the choices."""
        body = super().whole(choices, counted)
        told = [each.pop("prompt_logprobs", None) for each in body["choices"]]
        return {**body, "prompt_logprobs": told[0]} if any(told) else body

    def whole_choice(self, index: int, text: str, finish: Finish | None) -> dict[str, Any]:
        return {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": finish,
        }

    def opening(self, index: int) -> dict[str, Any] | None:
        return self._delta(index, {"role": "assistant", "content": ""}, None)

    def piece(self, index: int, text: str) -> dict[str, Any] | None:
        return self._delta(index, {"content": text}, None)

    def blank(self, index: int) -> dict[str, Any]:
        return self._delta(index, {}, None)

    def closing(self, index: int, finish: Finish | None) -> dict[str, Any]:
        return self._delta(index, {}, finish)

    def logprobs(self, shown: Seq[ShownLogprob]) -> dict[str, Any]:
        content = [
            {
                **_chat_logprob(each.token, each.raw, each.logprob),
                "top_logprobs": [_chat_logprob(*top) for top in each.top],
            }
            for each in shown
        ]
        return {"content": content, "refusal": None}

    def _delta(self, index: int, delta: dict[str, Any], finish: Finish | None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


class TextShape(Shape):
    id_prefix = "cmpl"
    whole_object = "text_completion"
    chunk_object = "text_completion"

    def whole_choice(self, index: int, text: str, finish: Finish | None) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}

    def piece(self, index: int, text: str) -> dict[str, Any]:
        return self.whole_choice(index, text, None)

    def blank(self, index: int) -> dict[str, Any]:
        return self.whole_choice(index, "", None)

    def closing(self, index: int, finish: Finish | None) -> dict[str, Any]:
        return self.whole_choice(index, "", finish)

    def logprobs(self, shown: Seq[ShownLogprob]) -> dict[str, Any]:
        return {
            "tokens": [each.token for each in shown],
            "token_logprobs": [each.logprob for each in shown],
            "top_logprobs": [_text_top(each) for each in shown],
            "text_offset": [each.offset for each in shown],
        }


def _chat_logprob(token: str, raw: bytes, logprob: float | None) -> dict[str, Any]:
    return {"token": token, "bytes": list(raw), "logprob": logprob}


def _text_top(shown: ShownLogprob) -> dict[str, float] | None:
    """The likeliest tokens and, as OpenAI has it, in any case the one that was chosen. Tokens that
    look the same (halves of characters) are one key: the likeliest stays."""
    if shown.logprob is None:
        return None
    top: dict[str, float] = {}
    for token, _, logprob in [*shown.top, (shown.token, shown.raw, shown.logprob)]:
        top.setdefault(token, logprob)
    return top
