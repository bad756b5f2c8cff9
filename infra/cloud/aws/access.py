"""How AWS is called: clients that threads share, bounded in time, in number, and with one voice
about credentials.

One access serves all clouds of a process, so that its budget is the process's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import create_loader
from botocore.parsers import ResponseParserError
from botocore.session import Session

from infra.cloud.aws.call_budget import CallBudget
from infra.cloud.aws.classification import refusal_of
from infra.cloud.refusals import (
    CloudAway,
    CredentialsExpired,
    CredentialsMissing,
    Malformed,
    Refusal,
    Throttled,
)

T = TypeVar("T")

_CONNECT_LIMIT_S = 3.0
_READ_LIMIT_S = 10.0
_ATTEMPTS = 3
"""Of botocore's, with its growing pauses; what fails then is the operation's to repeat."""
_TURN_LIMIT_S = 20.0
_WORK_LIMIT_S = 60.0
_THREADS = 8
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 30.0
"""For so long nobody asks again with credentials that AWS has just refused; doubled each time."""

_LOADER = create_loader()
"""Keeps the description of EC2, which takes half a second to read, for clients made anew."""


class AwsAccess:
    """Of one region (or endpoint). Safe for threads and event loops."""

    def __init__(self, region: str, endpoint_url: str, calls_per_s: float) -> None:
        self._region = region
        self._endpoint_url = endpoint_url
        self._budget = CallBudget(calls_per_s)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="aws")
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._refused: Refusal | None = None
        self._refused_until_s = 0.0
        self._pause_s = _FIRST_PAUSE_S

    @property
    def region(self) -> str:
        """Raises Refusal: there is none."""
        try:
            return str(self._client("ec2").meta.region_name)
        except BotoCoreError as error:
            raise refusal_of(error) from error

    async def do(self, work: Callable[[], T]) -> T:
        """Run work that calls AWS in a thread.

        Raises:
            CloudError: what the work raised, or that it took too long; it may end well even so.
        """
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            async with asyncio.timeout(_WORK_LIMIT_S):
                return await running
        except TimeoutError as error:
            raise CloudAway(f"AWS took longer than {_WORK_LIMIT_S:g} s") from error

    def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        """One call, in a thread; `operation` is boto3's name of the method.

        Raises:
            Refusal: AWS refused it, did not answer, or our own budget has no room for it.
        """
        self._check_credentials()
        self._take_turn()
        try:
            answer: dict[str, Any] = getattr(self._client(service), operation)(**arguments)
        except (ClientError, BotoCoreError, ResponseParserError) as error:
            refusal = refusal_of(error)
            self._remember(refusal)
            raise refusal from error
        self._pause_s = _FIRST_PAUSE_S
        return answer

    def pages(
        self, service: str, operation: str, field: str, **arguments: Any
    ) -> list[dict[str, Any]]:
        """All of a list that AWS tells in pages. Raises Refusal."""
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            more = {"NextToken": token} if token else {}
            answer = self.call(service, operation, **arguments, **more)
            found += answer.get(field, [])
            before, token = token, answer.get("NextToken") or ""
            if not token:
                return found
            if token == before:
                raise CloudAway(f"AWS answers {operation} with the same page for ever")

    def _client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                session = Session()
                session.register_component("data_loader", _LOADER)
                options = Config(
                    connect_timeout=_CONNECT_LIMIT_S,
                    read_timeout=_READ_LIMIT_S,
                    retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                    max_pool_connections=_THREADS,
                )
                try:
                    self._clients[service] = session.create_client(
                        service,
                        region_name=self._region or None,
                        endpoint_url=self._endpoint_url or None,
                        config=options,
                    )
                except ValueError as error:
                    raise Malformed(
                        f"{error}: TAMER_AWS_ENDPOINT_URL and TAMER_AWS_REGION say where AWS is"
                    ) from error
            return self._clients[service]

    def _take_turn(self) -> None:
        wait_s = self._budget.wait_s(_TURN_LIMIT_S)
        if wait_s is None:
            raise Throttled("our own budget of calls is spent: raise TAMER_AWS_CALLS_PER_S")
        if wait_s:
            time.sleep(wait_s)

    def _check_credentials(self) -> None:
        with self._lock:
            refused = self._refused
            if refused is not None and time.monotonic() < self._refused_until_s:
                raise type(refused)(str(refused))

    def _remember(self, refusal: Refusal) -> None:
        if not isinstance(refusal, CredentialsMissing | CredentialsExpired):
            return
        with self._lock:
            self._refused = refusal
            self._refused_until_s = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self._clients.clear()  # the next ones look for credentials anew


@lru_cache(maxsize=4)
def aws_access(region: str, endpoint_url: str, calls_per_s: float) -> AwsAccess:
    """The one of this process."""
    return AwsAccess(region, endpoint_url, calls_per_s)
