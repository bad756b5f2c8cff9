"""A proxy for HTTP that only slows down: a rate for each connection, a pause before each answer.

In a process of its own, and bytes go from socket to socket inside the kernel (splice): what is
measured through it is not the proxy. `FaultProxy` is the one that lies.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

from infra.process import end_with_parent

_PIECE_BYTES = 256 << 10
_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"(?im)^content-length: *(\d+)")


class SlowProxy:
    """A context manager."""

    def __init__(self, upstream: str, connection_bytes_per_s: float, latency_s: float) -> None:
        """`upstream`: http://HOST:PORT."""
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "loadtests.chaos.slow_proxy", upstream),
                *(str(connection_bytes_per_s), str(latency_s)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=end_with_parent(),  # noqa: PLW1509
        )
        self.url = f"http://127.0.0.1:{int(self._answer())}"

    def __enter__(self) -> SlowProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def body_bytes(self) -> int:
        """Passed on so far, all answers together."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return int(self._answer())

    def _answer(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


class _Server:
    def __init__(self, host: str, port: int, bytes_per_s: float, latency_s: float) -> None:
        self._upstream = (host, port)
        self._bytes_per_s = bytes_per_s
        self._latency_s = latency_s
        self._counting = threading.Lock()
        self.body_bytes = 0

    def serve(self, listener: socket.socket) -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=self._attend, args=(client,), daemon=True).start()

    def _attend(self, client: socket.socket) -> None:
        pipe = os.pipe()
        with suppress(OSError), client, socket.create_connection(self._upstream) as upstream:
            for each in (client, upstream):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._exchange(client, upstream, pipe):
                pass
        for end in pipe:
            os.close(end)

    def _exchange(
        self, client: socket.socket, upstream: socket.socket, pipe: tuple[int, int]
    ) -> bool:
        """One request without a body, and its answer; whether the connection goes on."""
        request, _ = _head(client)
        if not request:
            return False
        time.sleep(self._latency_s)
        upstream.sendall(request)
        head, ahead = _head(upstream)
        length = _LENGTH.search(head)
        client.sendall(head + ahead)
        left = (int(length[1]) if length else 0) - len(ahead)
        sent, began_s = 0, time.monotonic()
        while left > 0:
            count = os.splice(upstream.fileno(), pipe[1], min(left, _PIECE_BYTES))
            if not count:
                return False
            left -= count
            sent += count
            while count:
                count -= os.splice(pipe[0], client.fileno(), count)
            ahead_s = sent / self._bytes_per_s - (time.monotonic() - began_s)
            if ahead_s > 0:
                time.sleep(ahead_s)
        with self._counting:
            self.body_bytes += sent + len(ahead)
        return True


def _head(wire: socket.socket) -> tuple[bytes, bytes]:
    """Up to the end of the head, and what came with it; empty where the connection has ended."""
    received = b""
    while _HEAD_END not in received:
        piece = wire.recv(16 << 10)
        if not piece:
            return b"", b""
        received += piece
    head, _, ahead = received.partition(_HEAD_END)
    return head + _HEAD_END, ahead


def main(upstream: str, bytes_per_s: str, latency_s: str) -> None:
    parts = urlsplit(upstream)
    server = _Server(parts.hostname or "", parts.port or 80, float(bytes_per_s), float(latency_s))
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        sys.stdout.write(f"{server.body_bytes}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
