"""Chat answers with calls, in OpenAI's shape."""

from __future__ import annotations

import hashlib
from typing import Any

from control_plane.gateway.responses import ChatShape
from control_plane.gateway.sequence import Finish
from control_plane.gateway.tools.families import family_named, parser_for
from control_plane.gateway.tools.parser import CallParser
from control_plane.gateway.tools.pieces import ArgumentsGrown, CallOpened, Content, Piece
from infra.wire import OfferedTools

_SHORT_ID_CHARS = 9
_ID_CHARS = 24


class ToolShape(ChatShape):
    """Reads text for calls; whatever parts it comes in, and at whichever gateway."""

    def __init__(
        self,
        tools: OfferedTools,
        model: str,
        revision_id: str,
        include_usage: bool,
        *,
        answer_id: str = "",
        created_at: int = 0,
    ) -> None:
        super().__init__(
            model, revision_id, include_usage, answer_id=answer_id, created_at=created_at
        )
        self._tools = tools
        self._short_ids = family_named(tools.family).short_ids
        self._parsers: dict[int, CallParser] = {}

    def whole_choice(self, index: int, text: str, finish: Finish | None) -> dict[str, Any]:
        parser = parser_for(self._tools)
        content, calls = self._read(index, [*parser.push(text), *parser.flush()])
        choice = super().whole_choice(index, content, _finish(finish, parser))
        if calls:
            for call in calls:
                del call["index"]
            choice["message"].update(content=content or None, tool_calls=calls)
        return choice

    def opening(self, index: int) -> dict[str, Any] | None:
        return self._delta(index, {"role": "assistant", "content": None}, None)

    def piece(self, index: int, text: str) -> dict[str, Any] | None:
        delta = self._news(index, self._parser(index).push(text))
        return self._delta(index, delta, None) if delta else None

    def closing(self, index: int, finish: Finish | None) -> dict[str, Any]:
        parser = self._parser(index)
        delta = self._news(index, parser.flush())
        return self._delta(index, delta, _finish(finish, parser))

    def _parser(self, index: int) -> CallParser:
        return self._parsers.setdefault(index, parser_for(self._tools))

    def _news(self, choice: int, pieces: list[Piece]) -> dict[str, Any]:
        content, calls = self._read(choice, pieces)
        delta: dict[str, Any] = {"content": content} if content else {}
        return {**delta, "tool_calls": calls} if calls else delta

    def _read(self, choice: int, pieces: list[Piece]) -> tuple[str, list[dict[str, Any]]]:
        """Content, and one entry for each call that there is something new of."""
        content, calls = "", dict[int, dict[str, Any]]()
        for piece in pieces:
            match piece:
                case Content(text):
                    content += text
                case CallOpened(index, name):
                    calls[index] = {
                        "index": index,
                        "id": self._call_id(choice, index),
                        "type": "function",
                        "function": {"name": name, "arguments": ""},
                    }
                case ArgumentsGrown(index, text):
                    grown = calls.setdefault(index, {"index": index, "function": {"arguments": ""}})
                    grown["function"]["arguments"] += text
        return content, list(calls.values())

    def _call_id(self, choice: int, index: int) -> str:
        """The same whoever answers, and however often."""
        digest = hashlib.sha256(f"{self.answer_id}/{choice}/{index}".encode()).hexdigest()
        return digest[:_SHORT_ID_CHARS] if self._short_ids else f"call_{digest[:_ID_CHARS]}"


def _finish(finish: Finish | None, parser: CallParser) -> Finish | None:
    return "tool_calls" if finish == "stop" and parser.calls else finish
