"""The command. What it works with is imported when it runs: every `tamer` command loads this."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from control_plane.cli.options import AsJson

_Limit = Annotated[
    float | None,
    typer.Option(min=0, metavar="MS", help="Limit for goodput; the deployment's if left out."),
]


def bench(
    deployment: Annotated[str, typer.Argument(help="Its name.")],
    streams: Annotated[int, typer.Option(min=1, max=1000, help="Requests at once.")] = 8,
    seconds: Annotated[int, typer.Option(min=1, max=86_400, help="How long.")] = 30,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Of each prompt, about.")] = 64,
    output_tokens: Annotated[int, typer.Option(min=1, help="Of each answer, at most.")] = 64,
    slo_ttft_ms: _Limit = None,
    slo_tpot_ms: _Limit = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="The server may be another machine.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure TTFT, TPOT, ITL, tokens/s and goodput; exit code 1 where requests failed.

    Each of the streams asks again when its answer is there (a closed loop), with a prompt that no
    cache knows. A first request, which is not counted, waits for a cold start.
    """
    from control_plane.cli.exits import ExitCode
    from control_plane.cli.screen import Screen
    from loadtests.bench.load import Load, measure
    from loadtests.bench.result import result, show

    screen = Screen(as_json)
    load = Load(deployment, streams, seconds, prompt_tokens, output_tokens, allow_remote)
    found = result(load, asyncio.run(measure(load, slo_ttft_ms, slo_tpot_ms, screen)))
    if as_json:
        screen.json(found)
    else:
        show(screen, found)
    if found["requests"]["failed"] or not found["requests"]["completed"]:
        raise typer.Exit(ExitCode.FAILED)
