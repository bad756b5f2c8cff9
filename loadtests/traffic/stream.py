"""Reads one OpenAI event stream line by line and keeps the time of every piece of text.

It takes the time as an argument, so that it can be tested without one.
"""

from __future__ import annotations

import msgspec

_DATA = b"data:"
_DONE = b"[DONE]"


class StreamError(RuntimeError):
    """The stream is not what was asked for, or the server said that it failed."""


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Failure(msgspec.Struct):
    message: str = ""


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: _Failure | None = None


_decoder = msgspec.json.Decoder(_Chunk)


class StreamReader:
    """Feed it lines as they arrive; ask it at the end."""

    def __init__(self) -> None:
        self.done = False
        self.text = ""
        self.times_s: list[float] = []
        """When each event with text arrived."""
        self._usage: _Usage | None = None

    def feed(self, line: bytes, now_s: float) -> None:
        """One line without its end.

        Raises:
            StreamError: it is no valid event, or it carries the server's error.
        """
        if not line.startswith(_DATA):
            return  # a comment, an empty line or another field
        body = line[len(_DATA) :].strip()
        if body == _DONE:
            self.done = True
            return
        try:
            chunk = _decoder.decode(body)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise StreamError(f"not an OpenAI chunk: {error}") from error
        if chunk.error is not None:
            raise StreamError(f"the server ended the stream: {chunk.error.message}")
        self._take(chunk, now_s)

    def _take(self, chunk: _Chunk, now_s: float) -> None:
        text = "".join(_text(choice) for choice in chunk.choices)
        if text:
            self.text += text
            self.times_s.append(now_s)
        self._usage = chunk.usage or self._usage

    def usage(self) -> tuple[int, int]:
        """(prompt tokens, output tokens) of a stream that has ended.

        Raises:
            StreamError: it ended early, or without the usage that was asked for.
        """
        if not self.done:
            raise StreamError("the stream ended before 'data: [DONE]'")
        if self._usage is None:
            raise StreamError("no usage chunk, though stream_options.include_usage was set")
        return self._usage.prompt_tokens, self._usage.completion_tokens

    def ttft_ms(self, sent_s: float) -> float | None:
        return (self.times_s[0] - sent_s) * 1000 if self.times_s else None

    def gaps_ms(self) -> list[float]:
        pairs = zip(self.times_s, self.times_s[1:], strict=False)
        return [(after - before) * 1000 for before, after in pairs]


def _text(choice: _Choice) -> str:
    if choice.delta is not None:
        return choice.delta.content or ""
    return choice.text or ""
