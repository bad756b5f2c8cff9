"""Serves the chunks that this worker holds to others that must run the same model."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from infra.peer_access import LANDED, MISSING, PATH, READING, is_permitted
from worker.agent.metrics import PEER_BYTES
from worker.loader.landing import OwnLanding

_ANSWERS_AT_ONCE = 32
_PIECE_BYTES = 256 << 10
_SILENCE_S = 10
_REQUESTED = re.compile(rf"{PATH}/([0-9a-f]{{64}})(/chunks)?")
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})")


class SharedPackage:
    """A package that others may read from this worker."""

    def __init__(self, landing: OwnLanding, key: str) -> None:
        self.landing = landing
        self.key = key
        self._reading: set[int] = set()
        self._answers = 0
        self._changes = threading.Condition()
        self._withdrawn = False

    def begin_answer(self) -> bool:
        """Whether it may be read now; `end_answer` must follow."""
        with self._changes:
            self._answers += not self._withdrawn
            return not self._withdrawn

    def end_answer(self) -> None:
        with self._changes:
            self._answers -= 1
            self._changes.notify_all()

    @property
    def withdrawn(self) -> bool:
        """Whether answers that are under way must end."""
        return self._withdrawn

    def withdraw(self) -> None:
        """Returns when nobody reads it any more: its memory may become another model's."""
        with self._changes:
            self._withdrawn = True
            self._changes.wait_for(lambda: not self._answers)

    def reading_from_store(self, chunk: int, begun: bool) -> None:
        """Told to others, so that they need not read it too."""
        if begun:
            self._reading.add(chunk)
        else:
            self._reading.discard(chunk)

    def states(self) -> bytes:
        """A byte for each chunk, as `infra.peer_access` says."""
        states = bytearray([LANDED]) * len(self.landing.index.chunks)
        for chunk in self.landing.missing():
            states[chunk] = READING if chunk in self._reading else MISSING
        return bytes(states)


class Rate:
    """So many bytes a second over all answers; 0: as many as come."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self._free_at_s = 0.0

    def take(self, count: int) -> float:
        """Seconds to wait before the next bytes may go."""
        if not self._bytes_per_s:
            return 0.0
        with self._lock:
            now_s = time.monotonic()
            self._free_at_s = max(self._free_at_s, now_s) + count / self._bytes_per_s
            return self._free_at_s - now_s


class PeerServer:
    """Listens from `start` to `close`."""

    def __init__(self, host: str, port: int, bytes_per_s: float = 0.0) -> None:
        """
        Args:
            host: to listen on, and under which others reach it.
            bytes_per_s: the most that is served; 0: no limit.

        Raises:
            OSError: it cannot listen there.
        """
        self._shared: dict[str, SharedPackage] = {}
        self._answers = threading.Semaphore(_ANSWERS_AT_ONCE)
        self.rate = Rate(bytes_per_s)
        self.draining = False
        """Answers no more: others find the chunks elsewhere."""
        self._http = _Listener((host, port), _handler_of(self))
        shown = f"[{host}]" if ":" in host else host
        self.address = f"{shown}:{self._http.server_address[1]}"
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.1,), name="peer-server", daemon=True
        )
        self._thread.start()

    def share(self, package: SharedPackage) -> Callable[[], None]:
        """Serve it, until what is returned is called."""
        root = package.landing.index.root
        self._shared[root] = package

        def end() -> None:
            if self._shared.get(root) is package:
                del self._shared[root]
            package.withdraw()

        return end

    @property
    def roots(self) -> list[str]:
        return list(self._shared)

    def find(self, root: str) -> SharedPackage | None:
        return None if self.draining else self._shared.get(root)

    def begin_answer(self) -> bool:
        return self._answers.acquire(blocking=False)

    def end_answer(self) -> None:
        self._answers.release()

    def close(self) -> None:
        self.draining = True
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    """A swarm connects all at once."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that leaves in the middle is no news."""


def _handler_of(server: PeerServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = _SILENCE_S
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if not server.begin_answer():
                self._refuse(503)
                return
            try:
                self._answer()
            finally:
                server.end_answer()

        def log_message(self, *arguments: object) -> None:
            """Chunks are counted, not logged."""

        def _answer(self) -> None:
            requested = _REQUESTED.fullmatch(self.path)
            package = server.find(requested[1]) if requested else None
            shown = self.headers.get("authorization", "")
            # One answer for both: who has no key learns nothing of what is here.
            if (
                requested is None
                or package is None
                or not is_permitted(shown, package.key, server.address, self.path)
            ):
                self._refuse(404)
            elif requested[2]:
                states = package.states()
                self._send_head(200, len(states))
                self.connection.sendall(states)
            elif not package.begin_answer():
                self._refuse(404)
            else:
                try:
                    self._send_part(package)
                finally:
                    package.end_answer()

        def _send_part(self, package: SharedPackage) -> None:
            landing = package.landing
            asked = _RANGE.fullmatch(self.headers.get("range", ""))
            begin, end = (int(asked[1]), int(asked[2]) + 1) if asked else (0, 0)
            if not begin < end <= landing.index.data_bytes:
                self._refuse(416)
            elif not landing.has(begin, end):
                self._refuse(404)
            else:
                data = landing.wait(begin, end, 0.0)
                place = f"bytes {begin}-{end - 1}/{landing.index.data_bytes}"
                self._send_head(206, len(data), place)
                self._send_pieces(data, package)

        def _send_pieces(self, data: memoryview, package: SharedPackage) -> None:
            """At the rate of all answers, until the package is withdrawn: whoever reads slowly must
            not keep its memory."""
            for begin in range(0, len(data), _PIECE_BYTES):
                if package.withdrawn:
                    self.close_connection = True
                    return
                piece = data[begin : begin + _PIECE_BYTES]
                self.connection.sendall(piece)
                PEER_BYTES.inc(len(piece))
                if (pause_s := server.rate.take(len(piece))) > 0:
                    time.sleep(pause_s)

        def _send_head(self, status: int, size_bytes: int, place: str = "") -> None:
            self.send_response(status)
            self.send_header("content-length", str(size_bytes))
            if place:
                self.send_header("content-range", place)
            self.end_headers()

        def _refuse(self, status: int) -> None:
            self._send_head(status, 0)

    return Handler
