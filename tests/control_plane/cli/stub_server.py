"""A real HTTP server on loopback that answers what a test has told it to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]


class StubServer:
    """`answers[(method, path)]` is a list of replies; the last one is given again and again.

    A reply is (status, body): a body of bytes is sent as an event stream, anything else as JSON.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[Reply]] = {}
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def on(self, method: str, path: str, *replies: Reply) -> None:
        """Paths as after `/api/v1`, unless they begin with `/v1`."""
        full = path if path.startswith("/v1") else f"/api/v1{path}"
        self.answers[(method, full)] = list(replies)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(stub) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                path = self.path.partition("?")[0]
                stub.requests.append((self.command, self.path, dict(self.headers), body))
                missing = [(404, {"detail": f"there is no {path}; 'tamer status' lists"})]
                replies = stub.answers.get((self.command, path), missing)
                status, said = replies.pop(0) if len(replies) > 1 else replies[0]
                kind = "text/event-stream" if isinstance(said, bytes) else "application/json"
                sent = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - the library calls them so

            def log_message(self, *arguments: Any) -> None:
                pass

        return Handler
