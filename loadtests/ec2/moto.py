"""moto's server on loopback, asked past the layer as whoever runs the cloud would."""

from __future__ import annotations

import http.client
import importlib
import json
import logging
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from loadtests.ec2 import form as forms

REGION = "us-east-1"
KEY = "tamer"
_VERSION = "2016-11-15"
_LIMIT_S = 30.0
_HOP_HEADERS = frozenset({"host", "content-length", "connection", "transfer-encoding", "expect"})


class MotoRefused(RuntimeError):
    """moto did not do what the stand-in asked of it."""


class Moto:
    """Starts in about two seconds. Signatures are not checked: any key will do."""

    def __init__(self) -> None:
        """Raises ImportError: moto is not installed."""
        self._server: Any = importlib.import_module("moto.server").ThreadedMotoServer(
            "127.0.0.1", 0, verbose=False
        )
        logging.getLogger("werkzeug").setLevel("WARNING")
        self._server.start()
        _, self.port = self._server.get_host_and_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.stop()

    def ec2(self, action: str, fields: Mapping[str, str]) -> ElementTree.Element:
        """One call of EC2's query protocol. Raises MotoRefused."""
        body = forms.write_form({"Action": action, "Version": _VERSION, **fields})
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return ElementTree.fromstring(self._ask("ec2", body, headers))

    def sqs(self, action: str, fields: Mapping[str, object]) -> dict[str, Any]:
        """One call of SQS. Raises MotoRefused."""
        headers = {
            "content-type": "application/x-amz-json-1.0",
            "x-amz-target": f"AmazonSQS.{action}",
        }
        answer: dict[str, Any] = json.loads(self._ask("sqs", json.dumps(fields).encode(), headers))
        return answer

    def forward(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes, str]:
        """What it answers a request of somebody's: status, body and content type."""
        kept = {name: value for name, value in headers.items() if name not in _HOP_HEADERS}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_LIMIT_S)
        try:
            connection.request("POST", path, body, kept)
            response = connection.getresponse()
            return response.status, response.read(), response.getheader("content-type", "")
        finally:
            connection.close()

    def _ask(self, service: str, body: bytes, headers: dict[str, str]) -> bytes:
        scope = f"{KEY}/20260101/{REGION}/{service}/aws4_request"
        signed = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=none"
        status, said, _ = self.forward("/", {**headers, "authorization": signed}, body)
        if status != http.client.OK:
            raise MotoRefused(f"{status}: {said.decode(errors='replace')}")
        return said
