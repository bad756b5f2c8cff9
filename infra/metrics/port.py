"""A port of its own for `/metrics`, where `metrics_port` is set; no key, so loopback by default.

Several processes of one machine may share the setting: each takes the first free port from there
on, as Spark's pages do, and `tamer:process_info` says whose it is.
"""

from __future__ import annotations

import threading
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from infra.metrics.registry import CONTENT_TYPE, gauge, render
from infra.settings import Settings
from infra.telemetry import logger

PORTS = 16
"""How many ports are tried."""
_READ_LIMIT_S = 10.0

_log = logger(__name__)

PROCESS = gauge("process_info", "1; the label says which process this is.", ("process",))


def start_metrics(settings: Settings, process: str) -> int:
    """Name this process in its metrics and, where the setting asks for it, serve them.

    Returns the port; 0 where there is none: a process that cannot be watched still does its work.
    """
    PROCESS.labels(process).set(1)
    if not settings.metrics_port:
        return 0
    last = min(settings.metrics_port + PORTS, 1 << 16) - 1
    problem = ""
    for port in range(settings.metrics_port, last + 1):
        try:
            server = make_server(
                settings.metrics_host, port, _answer, server_class=_Server, handler_class=_Handler
            )
        except OSError as error:
            problem = str(error)
            continue
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        _log.info("metrics", host=settings.metrics_host, port=port)
        return port
    _log.error("no port for metrics", first=settings.metrics_port, last=last, error=problem)
    return 0


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_port = False

    def server_bind(self) -> None:
        # Not HTTPServer's, which looks up the host's name and may wait for a DNS server.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    timeout = _READ_LIMIT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ARG002
        return


def _answer(environment: dict[str, Any], start_response: Any) -> list[bytes]:
    if environment["PATH_INFO"] != "/metrics":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"metrics are at /metrics\n"]
    start_response("200 OK", [("Content-Type", CONTENT_TYPE)])
    return [render()]
