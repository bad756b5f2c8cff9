from __future__ import annotations

import json
from typing import Any

import pytest

from loadtests.traffic.stream import StreamError, StreamReader


def _data(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode()


def _chat(content: str | None) -> bytes:
    return _data({"id": "x", "choices": [{"index": 0, "delta": {"content": content}}]})


USAGE = _data({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
DONE = b"data: [DONE]"


def _read(*lines: bytes) -> StreamReader:
    """The n-th line arrives at n seconds."""
    reader = StreamReader()
    for second, line in enumerate(lines):
        reader.feed(line, float(second))
    return reader


def test_ttft_is_the_first_text_that_is_not_empty() -> None:
    role = _data({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
    reader = _read(
        b": waiting", b"", role, _chat(None), _chat("He"), b"", _chat("llo"), USAGE, DONE
    )
    assert reader.ttft_ms(sent_s=0.5) == 3500.0
    assert reader.gaps_ms() == [2000.0]
    assert reader.text == "Hello"
    assert reader.usage() == (3, 2)
    assert reader.done


def test_text_completions_are_read_as_well() -> None:
    reader = _read(_data({"choices": [{"index": 0, "text": "a"}]}), USAGE, DONE)
    assert reader.text == "a"


def test_an_answer_without_text_has_no_ttft() -> None:
    assert _read(USAGE, DONE).ttft_ms(0.0) is None


def test_a_stream_that_ends_early_is_an_error() -> None:
    with pytest.raises(StreamError, match="DONE"):
        _read(_chat("a"), USAGE).usage()


def test_a_stream_without_usage_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(StreamError, match="include_usage"):
        _read(_chat("a"), DONE).usage()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (_data({"error": {"message": "replica lost"}}), "replica lost"),
        (b"data: {", "not an OpenAI chunk"),
        (_data({"choices": 7}), "not an OpenAI chunk"),
    ],
)
def test_a_wrong_event_says_what_is_wrong(line: bytes, said: str) -> None:
    with pytest.raises(StreamError, match=said):
        _read(line)
