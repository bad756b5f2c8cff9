"""The options of the load test, beside Locust's own."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol

from loadtests.statistics.record import Slo
from loadtests.traffic.mix import Mix, read_mix
from loadtests.traffic.schedule import Arrivals, Plan

_CONFIGARGPARSE = ("env_var", "is_secret")
"""What argparse itself does not know."""


class Parser(Protocol):
    """What we use of Locust's argument parser (configargparse)."""

    def add_argument(self, *flags: str, **options: Any) -> Any: ...

    def set_defaults(self, **defaults: Any) -> None: ...


def add_options(parser: Parser) -> None:
    """Everything has a default; a bare `locust -f loadtests/locustfile.py` ends after a minute."""
    add = parser.add_argument
    add("--model", default="smollm2", env_var="TAMER_MODEL", help="deployment to talk to")
    add("--api-key", default="", env_var="TAMER_API_KEY", is_secret=True, help="API key")
    add("--mix", type=_mix, default="chat=2,completion=1,conversation=1", help="KIND=WEIGHT,...")
    add("--prompt-tokens", type=_positive, default=64, help="about so many in each new prompt")
    add("--output-tokens", type=_positive, default=64, help="limit of each answer")
    add("--ignore-eos", action="store_true", help="answers go on to their limit (not OpenAI's)")
    add("--turns", type=_positive, default=3, help="questions in a conversation")
    add("--think-s", type=_amount, default=0.0, help="mean pause of a user between two requests")
    add(
        "--arrivals",
        choices=[each.value for each in Arrivals],
        default=Arrivals.CLOSED.value,
        help="closed: users wait for answers (-u says how many); else an open loop",
    )
    add("--rate", type=_amount, default=1.0, help="open loop: mean arrivals per second")
    add("--burst-size", type=_positive, default=8, help="open loop: requests of one burst")
    add("--trace", type=Path, default=None, help="open loop: file of recorded requests")
    add("--replay-speed", type=_amount, default=1.0, help="2 replays twice as fast as recorded")
    add("--max-prompt-tokens", type=_positive, default=1024, help="longer recorded prompts are cut")
    add("--max-output-tokens", type=_positive, default=256, help="longer recorded answers are cut")
    add("--max-in-flight", type=_positive, default=256, help="open loop: more than this is dropped")
    add("--max-requests", type=_positive, default=10_000, help="the test ends after so many")
    add("--request-limit-s", type=_amount, default=300.0, help="a longer answer is a failure")
    add("--slo-ttft-ms", type=_amount, default=0.0, help="limit for goodput; 0: none")
    add("--slo-tpot-ms", type=_amount, default=0.0, help="limit for goodput; 0: none")
    add("--seed", type=int, default=0, help="of prompts, arrivals and the mix")
    add("--records", type=Path, default=None, help="write every request to this file (JSON lines)")
    add("--allow-remote", action="store_true", help="the target may be another machine")
    parser.set_defaults(run_time="60s")


class _Listing:
    """Takes options only to show their help: all but those that are `named` elsewhere."""

    def __init__(self, named: set[str]) -> None:
        self._named = named
        self._parser = ArgumentParser(add_help=False, usage=SUPPRESS)
        self._group = self._parser.add_argument_group("handed to Locust, as is any other option")

    def add_argument(self, *flags: str, **options: Any) -> None:
        if self._named.isdisjoint(flags):
            plain = {name: options[name] for name in options if name not in _CONFIGARGPARSE}
            default = options.get("default")
            if default not in (None, ""):
                plain["help"] += f" (default: {default})"
            self._group.add_argument(*flags, **plain)

    def set_defaults(self, **defaults: Any) -> None:
        self._parser.set_defaults(**defaults)

    @property
    def text(self) -> str:
        return self._parser.format_help()


def options_help(named: Collection[str]) -> str:
    """Help of the options of `add_options`, without those in `named` ("--model")."""
    listing = _Listing(set(named))
    add_options(listing)
    return listing.text


def slo(options: Namespace) -> Slo:
    return Slo(ttft_ms=options.slo_ttft_ms, tpot_ms=options.slo_tpot_ms)


def plan(options: Namespace) -> Plan:
    return Plan(
        arrivals=Arrivals(options.arrivals),
        rate_per_s=options.rate,
        burst_size=options.burst_size,
        prompt_tokens=options.prompt_tokens,
        output_tokens=options.output_tokens,
        trace=options.trace,
        speed=options.replay_speed,
        max_prompt_tokens=options.max_prompt_tokens,
        max_output_tokens=options.max_output_tokens,
    )


def _checked(
    read: Callable[[str], float], fits: Callable[[float], bool], kind: str
) -> Callable[[str], Any]:
    def parse(text: str) -> float:
        try:
            value = read(text)
        except ValueError:
            value = float("nan")
        if not fits(value):
            raise ArgumentTypeError(f"{text!r} is not {kind}")
        return value

    return parse


_positive = _checked(int, lambda value: value > 0, "a whole number above 0")
_amount = _checked(float, lambda value: 0 <= value < float("inf"), "a number of 0 or more")


def _mix(text: str) -> Mix:
    try:
        return read_mix(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
