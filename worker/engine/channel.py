"""Frames between an agent and its engine: a 4-byte little-endian length, then MessagePack.

The engine reads and writes a plain socket (`Channel`); the agent an asyncio one (`AgentChannel`).
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import msgspec

from infra.wire import Malformed

MAX_FRAME_BYTES = 256 << 20
_HEADER_BYTES = 4
_READ_BYTES = 1 << 16


class ChannelClosed(ConnectionError):
    """The other end of the channel is gone."""


def pack(message: msgspec.Struct) -> bytes:
    """One frame, header and body."""
    body = msgspec.msgpack.encode(message, enc_hook=_encode_path)
    return len(body).to_bytes(_HEADER_BYTES, "little") + body


def unpack(body: bytes, kind: Any) -> Any:
    """Read the body of a frame as a struct or as one of a union of structs.

    Raises:
        Malformed: the bytes are no such message.
    """
    try:
        return msgspec.msgpack.decode(body, type=kind, dec_hook=_decode_path)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Malformed(f"frame of an engine channel: {error}") from error


def body_bytes(header: bytes | bytearray) -> int:
    """The length that a frame's header announces.

    Raises:
        Malformed: it is larger than any message of ours.
    """
    length = int.from_bytes(header[:_HEADER_BYTES], "little")
    if length > MAX_FRAME_BYTES:
        raise Malformed(f"frame of {length} bytes; at most {MAX_FRAME_BYTES} are allowed")
    return length


class Channel:
    """The engine's end. Closed by the peer, every call raises `ChannelClosed`."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setblocking(True)
        self._buffer = bytearray()

    def send(self, message: msgspec.Struct) -> None:
        try:
            self._socket.sendall(pack(message))
        except ConnectionError as error:
            raise ChannelClosed("the agent is gone") from error

    def receive(self, kind: Any) -> Any:
        """Wait for one message of `kind` (a struct or a union of structs)."""
        while (body := self._take_frame()) is None:
            self._fill(flags=0)
        return unpack(body, kind)

    def poll(self, kind: Any) -> Any | None:
        """The next message if it is already here, else None."""
        while (body := self._take_frame()) is None:
            try:
                self._fill(flags=socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
        return unpack(body, kind)

    def close(self) -> None:
        self._socket.close()

    def _fill(self, flags: int) -> None:
        try:
            data = self._socket.recv(_READ_BYTES, flags)
        except ConnectionError as error:
            raise ChannelClosed("the agent is gone") from error
        if not data:
            raise ChannelClosed("the agent is gone")
        self._buffer += data

    def _take_frame(self) -> bytes | None:
        if len(self._buffer) < _HEADER_BYTES:
            return None
        end = _HEADER_BYTES + body_bytes(self._buffer)
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_HEADER_BYTES:end])
        del self._buffer[:end]
        return body


class AgentChannel:
    """The agent's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._header = b""
        """Of a message whose body has not come."""

    @classmethod
    async def open(cls, connection: socket.socket) -> AgentChannel:
        """Take over one end of a socket pair."""
        return cls(*await asyncio.open_connection(sock=connection))

    async def send(self, message: msgspec.Struct) -> None:
        """Raises `ChannelClosed` where the engine is gone."""
        try:
            self._writer.write(pack(message))
            await self._writer.drain()
        except ConnectionError as error:
            raise ChannelClosed("the engine is gone") from error

    async def receive(self, kind: Any) -> Any:
        """Wait for one message of `kind`. Raises `ChannelClosed` where the engine is gone."""
        try:
            # Kept, since who waits may be cancelled between the two.
            self._header = self._header or await self._reader.readexactly(_HEADER_BYTES)
            body = await self._reader.readexactly(body_bytes(self._header))
            self._header = b""
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise ChannelClosed("the engine is gone") from error
        return unpack(body, kind)

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return


def _encode_path(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be sent over an engine channel")


def _decode_path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise TypeError(f"{kind.__name__} cannot be read from an engine channel")
