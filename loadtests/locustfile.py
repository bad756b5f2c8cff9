"""Locust users that stream from an OpenAI-compatible server and measure what LLM serving promises.

    locust -f loadtests/locustfile.py --headless -u 8 -t 1m --host http://127.0.0.1:8000

Closed loop (the default): `-u` users, each waits for its answer before it goes on, so a slow server
is asked less; latencies of a closed loop say nothing about a given rate of requests. Open loop
(`--arrivals constant|poisson|bursts|replay`): one user sends every request when it is due, whatever
the server does. TTFT, TPOT, ITL, tokens/s and goodput stand beside Locust's own figures
(`loadtests/statistics/entries.py` says how to read them).
"""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from functools import partial
from random import Random
from typing import Any, ClassVar

import gevent
import locust.stats
from locust import HttpUser, events, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import LocalRunner
from urllib3 import PoolManager

from loadtests.statistics.entries import LlmEntries, three_digits
from loadtests.statistics.log import RecordLog
from loadtests.statistics.record import Outcome, RequestRecord
from loadtests.traffic import session
from loadtests.traffic.client import StreamClient
from loadtests.traffic.dispatcher import Dispatcher
from loadtests.traffic.mix import choose
from loadtests.traffic.options import Parser, add_options, plan, slo
from loadtests.traffic.schedule import Arrivals, Due, schedule
from loadtests.traffic.target import ForbiddenTarget, check_target

logger = logging.getLogger("tamer.load")


class Run:
    """One test from its start to its stop: how much may still be sent, and where records go."""

    def __init__(self, environment: Environment, options: Namespace) -> None:
        self.options = options
        self.started_s = time.monotonic()
        self._environment = environment
        self._entries = LlmEntries(environment.stats, slo(options))
        self._log = RecordLog(options.records) if options.records else None
        self._left = int(options.max_requests)
        self._under_way = 0

    def take(self) -> bool:
        """Whether one more request may be sent."""
        if self._left <= 0:
            return False
        self._left -= 1
        self._under_way += 1
        return True

    def report(self, record: RequestRecord) -> None:
        self._under_way -= 1
        self._entries.add(record)
        if self._log is not None:
            self._log.append(record)
        if self._left <= 0:
            self.end_if_idle()

    def end_if_idle(self) -> None:
        """End the test when nothing is under way and nothing more will be sent."""
        if self._under_way == 0 and isinstance(self._environment.runner, LocalRunner):
            gevent.spawn(self._environment.runner.quit)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


class _Current:
    """The test that runs in this process; Locust has no place of its own for it."""

    run: ClassVar[Run | None] = None


class StreamingUser(HttpUser):
    """What the users of both loops have in common."""

    abstract = True
    host = "http://127.0.0.1:8000"
    pool_manager = PoolManager(maxsize=256)
    _users: ClassVar[int] = 0

    def on_start(self) -> None:
        assert _Current.run is not None
        self.run_of_test = _Current.run
        options = self.run_of_test.options
        try:
            check_target(str(self.host), allow_remote=options.allow_remote)
        except ForbiddenTarget as error:
            logger.error("%s", error)
            self.environment.process_exit_code = 2
            raise StopUser from error
        self.client.trust_env = options.allow_remote  # no proxy leads back to this machine
        StreamingUser._users += 1
        self.random = Random(f"{options.seed}/{StreamingUser._users}")
        self.streams = StreamClient(
            self.client,
            options.api_key,
            self.run_of_test.started_s,
            options.request_limit_s,
            self.run_of_test.report,
        )

    def play(self, send: session.Send, prompt_tokens: int, output_tokens: int) -> None:
        options = self.run_of_test.options
        common: dict[str, Any] = {"model": options.model, "max_tokens": output_tokens}
        if options.ignore_eos:
            common["ignore_eos"] = True
        kind = choose(options.mix, self.random)
        session.play(kind, send, common, prompt_tokens, options.turns, self.random)


class ClosedLoopUser(StreamingUser):
    """Sends, waits for the end of the answer, thinks, sends again."""

    def wait_time(self) -> float:
        mean_s = self.run_of_test.options.think_s
        return self.random.expovariate(1 / mean_s) if mean_s > 0 else 0.0

    @task
    def one_session(self) -> None:
        options = self.run_of_test.options
        self.play(self._send, options.prompt_tokens, options.output_tokens)

    def _send(self, kind: str, path: str, body: dict[str, Any]) -> str | None:
        if not self.run_of_test.take():
            raise StopUser
        return self.streams.stream(kind, path, body)


class OpenLoopUser(StreamingUser):
    """One for the whole test: it follows the schedule."""

    fixed_count = 1

    @task
    def whole_schedule(self) -> None:
        options = self.run_of_test.options
        dispatcher = Dispatcher(self._one_session, self._drop, options.max_in_flight)
        due = schedule(plan(options), self.random)
        dispatcher.run(due, options.max_requests, self.run_of_test.started_s)
        self.run_of_test.end_if_idle()
        raise StopUser

    def _one_session(self, due: Due, lag_ms: float) -> None:
        self.play(partial(self._send, lag_ms), due.prompt_tokens, due.output_tokens)

    def _send(self, lag_ms: float, kind: str, path: str, body: dict[str, Any]) -> str | None:
        if not self.run_of_test.take():
            return None
        return self.streams.stream(kind, path, body, lag_ms)

    def _drop(self, _due: Due, lag_ms: float) -> None:
        if not self.run_of_test.take():
            return
        now_s = time.monotonic() - self.run_of_test.started_s
        error = "dropped: --max-in-flight requests were under way"
        self.environment.events.request.fire(
            request_type="POST",
            name="(dropped)",
            response_time=None,
            response_length=0,
            exception=RuntimeError(error),
            context={},
        )
        self.run_of_test.report(
            RequestRecord("", Outcome.DROPPED, now_s, now_s, lag_ms, error=error)
        )


@events.init_command_line_parser.add_listener
def _add_options(parser: Parser) -> None:
    add_options(parser)


@events.init.add_listener
def _choose_loop(environment: Environment, **_: Any) -> None:
    """Check what can be checked before anything is sent, and keep the users of the chosen loop."""
    options = environment.parsed_options
    assert options is not None
    closed = options.arrivals == Arrivals.CLOSED
    try:
        if environment.host:
            check_target(environment.host, allow_remote=options.allow_remote)
        if not closed:
            schedule(plan(options), Random(0))
    except ValueError as error:
        raise SystemExit(f"load test: {error}") from error
    locust.stats.bucket_response_time = three_digits  # type: ignore[assignment]
    # The event loop's idea of now is as old as the imports: --run-time would end that much early.
    gevent.get_hub().loop.update_now()
    environment.user_classes = [ClosedLoopUser if closed else OpenLoopUser]


@events.test_start.add_listener
def _begin(environment: Environment, **_: Any) -> None:
    assert environment.parsed_options is not None
    _Current.run = Run(environment, environment.parsed_options)


@events.quitting.add_listener
def _let_the_csv_catch_up(environment: Environment, **_: Any) -> None:
    """Locust writes its CSV once a second and not at its end: the last rows would be missing."""
    assert environment.parsed_options is not None
    if environment.parsed_options.csv_prefix:
        gevent.sleep(1.5 * locust.stats.CSV_STATS_INTERVAL_SEC)


@events.quit.add_listener
def _end(**_: Any) -> None:
    if _Current.run is not None:
        _Current.run.close()
