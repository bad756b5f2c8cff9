"""Locust as a process of its own, headless, for a bounded time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

from loadtests.ask import Ask

RECORDS = "requests.jsonl"
"""Every request, in the report folder."""
_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_START_AND_STOP_S = 90.0


class CannotRun(RuntimeError):
    """The load test cannot be run; the message says what to do."""


def run_locust(ask: Ask, output: IO[bytes] | None = None) -> int:
    """Locust's exit code; its report is in the folder that was asked for. `output` is where it
    writes instead of to our own streams.

    Raises:
        CannotRun: the folder cannot be written, or Locust did not end in time.
    """
    try:
        ask.report.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotRun(f"cannot write the report: {error}; name a folder with --report") from error
    environment = {**os.environ, "TAMER_API_KEY": ask.key}
    errors = None if output is None else subprocess.STDOUT
    process = subprocess.Popen(_command(ask), env=environment, stdout=output, stderr=errors)
    try:
        return process.wait(ask.run_time_s + _START_AND_STOP_S)
    except KeyboardInterrupt:
        return process.wait(_START_AND_STOP_S)  # Locust has seen it as well and writes its report
    except subprocess.TimeoutExpired as error:
        raise CannotRun("locust did not end in time and was stopped") from error
    finally:
        process.kill()


def _command(ask: Ask) -> list[str]:
    command = [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless"]
    command += ["--only-summary", "--host", ask.url, "--model", ask.model]
    command += ["--users", str(ask.users), "--spawn-rate", str(ask.users)]
    command += ["--run-time", f"{ask.run_time_s}s", "--arrivals", ask.arrivals]
    command += ["--slo-ttft-ms", f"{ask.slo.ttft_ms:g}", "--slo-tpot-ms", f"{ask.slo.tpot_ms:g}"]
    command += ["--csv", str(ask.report / "locust"), "--html", str(ask.report / "locust.html")]
    command += ["--records", str(ask.report / RECORDS)]
    return [*command, *(["--allow-remote"] if ask.allow_remote else []), *ask.passed_on]
