"""What a gateway and its tokenizer processes say to each other: frames of MessagePack on pipes.

A frame is a 4-byte little-endian length and the body.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from infra.wire import Grammar, TextAssets

LENGTH_BYTES = 4
_MAX_LOADED = 32

T = TypeVar("T")


class Load(msgspec.Struct, frozen=True, tag=True):
    """Keep the text side of a model for the requests that follow; has no answer of its own."""

    digest: str
    assets: TextAssets


class EncodeChat(msgspec.Struct, frozen=True, tag=True):
    digest: str
    messages: list[dict[str, Any]]
    max_tokens: int
    """Longer prompts are counted, but not sent back."""
    tools: str = "[]"
    """The functions that the model is told of, in OpenAI's shape: JSON, whose numbers may be larger
    than MessagePack's."""
    arguments: str = "{}"
    """What the template reads beside these, by name; JSON."""


class EncodeTexts(msgspec.Struct, frozen=True, tag=True):
    digest: str
    texts: list[str]
    max_tokens: int


class CheckGrammars(msgspec.Struct, frozen=True, tag=True):
    """Compile them for a model's tokens, which takes time and memory as their writer likes."""

    digest: str
    vocabulary: int
    """Width of the model's logits."""
    grammars: list[Grammar]


ToTokenizer = Load | EncodeChat | EncodeTexts | CheckGrammars


class Prompt(msgspec.Struct, frozen=True, array_like=True):
    count: int
    """Tokens of the prompt; a lower bound where `ids` is empty."""
    ids: list[int] = []


class Encoded(msgspec.Struct, frozen=True, tag=True):
    prompts: list[Prompt]


class Unacceptable(msgspec.Struct, frozen=True, tag=True):
    """These messages or texts cannot be a prompt of this model."""

    reason: str


class Checked(msgspec.Struct, frozen=True, tag=True):
    refusals: list[str]
    """For each grammar why it is refused; empty where it is not."""


FromTokenizer = Encoded | Unacceptable | Checked


def frame(message: msgspec.Struct) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "little") + body


def remember(loaded: dict[str, T], digest: str, text: T) -> None:
    """Add to what a process has loaded; both ends forget the oldest in the same way."""
    while len(loaded) >= _MAX_LOADED:
        del loaded[next(iter(loaded))]
    loaded[digest] = text
