"""One request, and when its first token came."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

PROMPT = "The capital of France is"
_TRY_AGAIN_S = 0.01
_READ_BYTES = 1 << 16


class NoToken(RuntimeError):
    """The answer is not what was asked for; the message quotes it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server."""

    url: str
    model: str
    key: str = ""
    path: str = "/v1/completions"


def first_token_s(
    endpoint: Endpoint,
    began_s: float,
    limit_s: float,
    lives: Callable[[], bool] = lambda: True,
) -> float:
    """Seconds from `began_s` (monotonic) to the first event with text.

    A server that does not listen yet, or says that it is not ready, is asked again at once.

    Raises:
        NoToken: another answer, or none within the limit, or the server no longer `lives`.
    """
    deadline = began_s + limit_s
    while time.monotonic() < deadline and lives():
        try:
            if _ask(endpoint, deadline):
                return time.monotonic() - began_s
        except OSError:
            time.sleep(_TRY_AGAIN_S)
            continue
        time.sleep(_TRY_AGAIN_S)
    gone = "" if lives() else ", for it has ended"
    raise NoToken(f"{endpoint.url} gave no token within {limit_s:.0f} s{gone}")


def _ask(endpoint: Endpoint, deadline: float) -> bool:
    """True at the first text; False where the server is still to get ready (503)."""
    parts = urlsplit(endpoint.url)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    with socket.create_connection(address, timeout=max(0.1, deadline - time.monotonic())) as peer:
        peer.sendall(_request(endpoint, f"{address[0]}:{address[1]}"))
        answer = b""
        while read := peer.recv(_READ_BYTES):
            answer += read
            if answer.startswith(b"HTTP/1.1 503"):
                return False
            if any(_texts(answer)):
                return True
    raise NoToken(answer[-500:].decode(errors="replace") or "an empty answer")


def _texts(answer: bytes) -> Iterator[str]:
    for line in answer.split(b"\n")[:-1]:
        _, found, data = line.partition(b"data: ")
        if found and data.startswith(b"{"):
            for choice in json.loads(data).get("choices", ()):
                yield choice.get("text") or ""


def _request(endpoint: Endpoint, host: str) -> bytes:
    body = {
        "model": endpoint.model,
        "prompt": PROMPT,
        "max_tokens": 4,
        "temperature": 0,
        "stream": True,
    }
    content = json.dumps(body).encode()
    head = (
        f"POST {endpoint.path} HTTP/1.1\r\nhost: {host}\r\n"
        f"authorization: Bearer {endpoint.key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + content
