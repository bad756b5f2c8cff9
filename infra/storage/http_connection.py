"""One HTTP/1.1 connection that receives into the caller's memory."""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

_CONNECT_LIMIT_S = 5.0
_PIECE_BYTES = 1 << 20
_MOST_HEAD_BYTES = 64 << 10
_HEAD_END = b"\r\n\r\n"
_PART = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |$)")


class BrokenConnection(ConnectionError):
    """Of no more use; another one may work."""


@dataclass(frozen=True, slots=True)
class Head:
    status: int
    headers: dict[str, str]
    """Names in small letters."""
    length_bytes: int
    """Of the body; -1 where it is not said."""
    first_byte: int
    """Of the part that comes; -1 where none is said, as with `total_bytes`."""
    total_bytes: int

    @property
    def closes(self) -> bool:
        """The server ends the connection after this answer."""
        return self.headers.get("connection", "").lower() == "close"


class Connection:
    """Of one thread at a time; only `interrupt` is for others."""

    def __init__(self, wire: socket.socket, silence_s: float) -> None:
        self._wire = wire
        self._encrypted = isinstance(wire, ssl.SSLSocket)
        self._silence_s = silence_s
        self._limit_s = 0.0
        self._ahead = b""
        self._heard_at_s = time.monotonic()

    def ask(self, url: str, headers: dict[str, str]) -> Head:
        """`send`, and wait for the answer. Raises BrokenConnection."""
        self.send(url, headers)
        while True:
            head = self.head(self._silence_s)
            if head is not None:
                return head

    def send(self, url: str, headers: dict[str, str]) -> None:
        """A GET. Raises BrokenConnection."""
        parts = urlsplit(url)
        lines = [f"GET {_path(parts)} HTTP/1.1", f"host: {parts.netloc.rpartition('@')[2]}"]
        lines += ["accept-encoding: identity"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._ahead = b""
        self._heard_at_s = time.monotonic()
        try:
            self._set_limit(self._silence_s)
            self._wire.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        except OSError as error:
            raise BrokenConnection(str(error) or type(error).__name__) from error

    def head(self, wait_s: float) -> Head | None:
        """What stands before the body; None where it has not come after `wait_s`.

        Raises:
            BrokenConnection: it ends, is silent for too long, or speaks no HTTP.
        """
        while _HEAD_END not in self._ahead:
            try:
                self._set_limit(wait_s)
                piece = self._wire.recv(16 << 10)
            except (TimeoutError, BlockingIOError):
                self._check_silence()
                return None
            except OSError as error:
                raise BrokenConnection(str(error) or type(error).__name__) from error
            if not piece or len(self._ahead) > _MOST_HEAD_BYTES:
                raise BrokenConnection("it ended before an answer" if not piece else "no end")
            self._ahead += piece
            self._heard_at_s = time.monotonic()
        text, _, self._ahead = self._ahead.partition(_HEAD_END)
        return _parse_head(text)

    def receive(self, into: memoryview, wait_s: float) -> int:
        """Bytes of the body that have come into the beginning of `into`; 0 after `wait_s`.

        Raises:
            BrokenConnection: it has ended, or been silent for too long.
        """
        if self._ahead:
            taken = min(len(into), len(self._ahead))
            into[:taken] = self._ahead[:taken]
            self._ahead = self._ahead[taken:]
            return taken
        try:
            self._set_limit(wait_s)
            if self._encrypted:
                count = self._wire.recv_into(into)
            else:
                # The kernel fills a large piece, or what came in time: one call, not many.
                count = self._wire.recv_into(into[:_PIECE_BYTES], 0, socket.MSG_WAITALL)
        except (TimeoutError, BlockingIOError):
            self._check_silence()
            return 0
        except OSError as error:
            raise BrokenConnection(str(error)) from error
        if count == 0:
            raise BrokenConnection("it ended before its length")
        self._heard_at_s = time.monotonic()
        return count

    def interrupt(self) -> None:
        """Whoever reads gets a BrokenConnection now."""
        try:
            self._wire.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself

    def close(self) -> None:
        self._wire.close()

    def _set_limit(self, limit_s: float) -> None:
        """Of each call to the system. Python's own limits would poll before each."""
        if self._encrypted:
            self._wire.settimeout(limit_s)
        elif limit_s != self._limit_s:
            limit = struct.pack("ll", int(limit_s), int(limit_s % 1 * 1e6))
            self._wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            self._wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            self._limit_s = limit_s

    def _check_silence(self) -> None:
        if time.monotonic() - self._heard_at_s >= self._silence_s:
            raise BrokenConnection(f"it has been silent for {self._silence_s:g} s")


def _parse_head(text: bytes) -> Head:
    first_line, _, fields = text.partition(b"\r\n")
    status = _STATUS.match(first_line)
    if status is None:
        raise BrokenConnection("it does not speak HTTP/1.1")
    try:
        parsed = http.client.parse_headers(io.BytesIO(fields + _HEAD_END))
    except http.client.HTTPException as error:
        raise BrokenConnection(f"its headers cannot be read: {error}") from error
    headers = {name.lower(): value for name, value in parsed.items()}
    length = headers.get("content-length", "")
    part = _PART.fullmatch(headers.get("content-range", ""))
    return Head(
        int(status[1]),
        headers,
        int(length) if length.isascii() and length.isdigit() else -1,
        int(part[1]) if part else -1,
        int(part[3]) if part else -1,
    )


def open_connection(url: str, silence_s: float) -> Connection:
    """Raises BrokenConnection."""
    parts = urlsplit(url)
    encrypted = parts.scheme == "https"
    try:
        address = (parts.hostname or "", parts.port or (443 if encrypted else 80))
        wire = socket.create_connection(address, timeout=_CONNECT_LIMIT_S)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if encrypted:
            wire = _tls().wrap_socket(wire, server_hostname=parts.hostname)
        # Not before: a handshake may never be answered.
        wire.settimeout(None)
    except (OSError, ValueError) as error:
        raise BrokenConnection(f"{parts.netloc} cannot be reached: {error}") from error
    return Connection(wire, silence_s)


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None)


def _path(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
