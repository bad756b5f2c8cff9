"""Spans in a file, from a process of its own as all of ours are."""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from loadtests.benchmarks.spans import read_spans
from tests.fixtures.requirements import imported

imported("tracing", "opentelemetry.sdk")

_PROGRAM = """
from infra.settings import Settings
from infra.telemetry import configure_logging
from infra.tracing.setup import start_tracing
from infra.tracing.span import now_ns, record, span, traceparent
configure_logging("test")
start_tracing("test", Settings())
with span("outer", {"job_id": "job-1", "attempt": 2, "replica_id": ""}):
    record("inner", now_ns(), now_ns(), traceparent())
print(traceparent())
"""


def run(timeout_s: float = 60.0, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=timeout_s,
    )


def test_spans_are_appended_as_otlp(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    run(TAMER_TRACE_FILE=str(file))
    run(TAMER_TRACE_FILE=str(file))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == 2
    [process] = lines[0]["resourceSpans"]
    assert {"key": "service.name", "value": {"stringValue": "test"}} in process["resource"][
        "attributes"
    ]
    inner, outer = process["scopeSpans"][0]["spans"]
    assert (inner["name"], inner["parentSpanId"]) == ("inner", outer["spanId"])
    assert inner["traceId"] == outer["traceId"]
    assert outer["parentSpanId"] == ""
    assert outer["attributes"] == [
        {"key": "tamer.job_id", "value": {"stringValue": "job-1"}},
        {"key": "tamer.attempt", "value": {"intValue": "2"}},
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_times_of_several_processes_are_read_on_one_clock(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    began_ns = time.monotonic_ns()
    run(TAMER_TRACE_FILE=str(file))
    between_ns = time.monotonic_ns()
    run(TAMER_TRACE_FILE=str(file))
    first, second = (spans for spans in read_spans(file).values())
    times = [
        each
        for spans in (first, second)
        for span in spans
        for each in (span.began_ns, span.ended_ns)
    ]
    assert all(began_ns < each < between_ns for each in times[:4])
    assert all(between_ns < each < time.monotonic_ns() for each in times[4:])


def test_a_file_that_cannot_be_written_is_said_and_nothing_else_changes(tmp_path: Path) -> None:
    ended = run(TAMER_TRACE_FILE=str(tmp_path / "no-such-folder" / "spans.jsonl"))
    assert ended.stdout == "\n"
    assert "TAMER_TRACE_FILE cannot be written to" in ended.stderr


def test_a_collector_gets_them_over_http() -> None:
    bodies: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            bodies.append((self.path, gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    run(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()
    [(path, body)] = bodies
    assert path == "/v1/traces"
    assert b"outer" in body and b"inner" in body and b"tamer.job_id" in body


def test_a_collector_that_is_away_does_not_hold_a_process_up(unused_tcp_port: int) -> None:
    ended = run(10.0, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{unused_tcp_port}")
    assert ended.returncode == 0


def test_without_a_destination_opentelemetry_is_not_loaded() -> None:
    program = _PROGRAM + "import sys; print('opentelemetry.sdk' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["False"]
