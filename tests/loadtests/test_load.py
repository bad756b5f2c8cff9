"""Locust itself against a real server on loopback, as `make load` starts it."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.statistics.log import read_records
from loadtests.statistics.record import Outcome
from tests.fixtures.openai_stream import FIRST_TOKEN_S, KEY, MODEL, PROMPT_TOKENS, OpenAiStream


def _load(
    folder: Path, url: str, *arguments: str, key: str = KEY
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name[:6] != "TAMER_"}
    environment |= {"TAMER_HOME": str(folder / "home"), "TAMER_API_KEY": key}
    return subprocess.run(
        [sys.executable, "-m", "loadtests.run", "--url", url, "--report", str(folder), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _entries(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (folder / "locust_stats.csv").open() as file:
        return {(row["Type"], row["Name"]): row for row in csv.DictReader(file)}


def test_a_closed_loop_reports_llm_measures_everywhere(
    tmp_path: Path, openai_stream: OpenAiStream
) -> None:
    ended = _load(
        tmp_path,
        openai_stream.url,
        *("--users", "3", "--run-time", "30s", "--max-requests", "24", "--output-tokens", "6"),
        *("--slo-ttft-ms", "20000", "--slo-tpot-ms", "0.001"),
    )
    assert ended.returncode == 0, ended.stderr
    records = read_records(tmp_path / "requests.jsonl")
    assert len(records) == len(openai_stream.bodies) == 24
    assert {each.outcome for each in records} == {Outcome.COMPLETED}
    assert {each.kind for each in records} == {"chat", "completion", "conversation"}
    for each in records:
        assert each.ttft_ms is not None and each.ttft_ms >= FIRST_TOKEN_S * 1000
        assert (each.prompt_tokens, each.output_tokens) == (PROMPT_TOKENS, 6)
        assert len(each.gaps_ms) == 5

    entries = _entries(tmp_path)
    counts = {name: int(row["Request Count"]) for name, row in entries.items()}
    assert counts["LLM", "TTFT"] == counts["LLM", "TPOT"] == counts["", "Aggregated"] == 24
    assert counts["LLM", "ITL"] == 24 * 5
    assert counts["LLM", "output tokens"] == 24 * 6
    assert counts["SLO", "missed"] == 24
    page = (tmp_path / "locust.html").read_text()
    assert "TTFT" in page and "stream tokens/s" in page
    summary = (tmp_path / "summary.md").read_text()
    assert "24 completed, 0 failed" in summary
    assert "| SLO attainment | 0.0% |" in summary
    assert summary in ended.stdout


def test_an_open_loop_sends_when_due_though_answers_take_longer(
    tmp_path: Path, openai_stream: OpenAiStream
) -> None:
    """20 requests in half a second, each of which takes over half a second."""
    ended = _load(
        tmp_path,
        openai_stream.url,
        *("--arrivals", "constant", "--rate", "40", "--max-requests", "20", "--mix", "chat"),
        *("--output-tokens", "100", "--run-time", "30s"),
    )
    assert ended.returncode == 0, ended.stderr
    records = read_records(tmp_path / "requests.jsonl")
    assert len(records) == 20
    last_sent_s = max(each.sent_s for each in records)
    assert min(each.ended_s for each in records) > last_sent_s
    for number, each in enumerate(sorted(records, key=lambda record: record.sent_s)):
        assert each.sent_s >= number / 40
    assert "open, constant arrivals" in (tmp_path / "summary.md").read_text()


def test_a_recorded_trace_is_replayed_with_its_lengths(
    tmp_path: Path, openai_stream: OpenAiStream
) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.0,12,3\n2023-11-16 18:15:47.0,30,5\n2023-11-16 18:15:49.0,9999,7\n"
    )
    ended = _load(
        tmp_path,
        openai_stream.url,
        *("--arrivals", "replay", "--trace", str(trace), "--replay-speed", "2"),
        *("--mix", "completion", "--max-prompt-tokens", "50", "--ignore-eos"),
    )
    assert ended.returncode == 0, ended.stderr
    bodies = openai_stream.bodies
    assert [body["max_tokens"] for body in bodies] == [3, 5, 7]
    assert [len(body["prompt"].split()) for body in bodies] == [12, 30, 50]
    assert all(body["ignore_eos"] for body in bodies)


def test_more_than_the_limit_under_way_is_dropped_and_told(
    tmp_path: Path, openai_stream: OpenAiStream
) -> None:
    ended = _load(
        tmp_path,
        openai_stream.url,
        *("--arrivals", "bursts", "--burst-size", "6", "--rate", "600", "--max-requests", "6"),
        *("--max-in-flight", "2", "--mix", "chat", "--output-tokens", "20"),
    )
    assert ended.returncode == 1
    outcomes = [each.outcome for each in read_records(tmp_path / "requests.jsonl")]
    assert sorted(outcomes) == [Outcome.COMPLETED] * 2 + [Outcome.DROPPED] * 4
    assert len(openai_stream.bodies) == 2


def test_a_stream_that_breaks_is_a_failure_with_its_reason(
    tmp_path: Path, openai_stream: OpenAiStream
) -> None:
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless"]
    command += ["--host", openai_stream.url, "--model", "broken", "--max-requests", "3"]
    command += ["--only-summary", "--records", str(tmp_path / "requests.jsonl")]
    ended = subprocess.run(
        command,
        env={**os.environ, "TAMER_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    records = read_records(tmp_path / "requests.jsonl")
    assert [each.outcome for each in records] == [Outcome.FAILED] * 3
    assert {each.error for each in records} == {"the server ended the stream: the replica is gone"}


def test_what_is_under_way_at_the_end_is_unfinished_and_not_a_failure(
    tmp_path: Path, openai_stream: OpenAiStream
) -> None:
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless"]
    command += ["--host", openai_stream.url, "--model", "silent", "-u", "2", "-r", "2", "-t", "2s"]
    command += ["--only-summary", "--records", str(tmp_path / "requests.jsonl")]
    ended = subprocess.run(
        command,
        env={**os.environ, "TAMER_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    records = read_records(tmp_path / "requests.jsonl")
    assert [each.outcome for each in records] == [Outcome.UNFINISHED] * 2, ended.stderr
    assert all(each.ttft_ms is not None for each in records)


@pytest.mark.parametrize(
    ("arguments", "key", "said"),
    [
        (("--url", "http://127.0.0.1:9"), KEY, "nothing answers at http://127.0.0.1:9"),
        (("--url", "http://192.0.2.1"), KEY, "--allow-remote"),
        ((), "another", "set TAMER_API_KEY"),
        (("--model", "nobody"), KEY, f"does not serve 'nobody'; it serves {MODEL}"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(
    tmp_path: Path, openai_stream: OpenAiStream, arguments: tuple[str, ...], key: str, said: str
) -> None:
    ended = _load(tmp_path, openai_stream.url, *arguments, key=key)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_wrong_trace_ends_the_test_before_anything_is_sent(
    tmp_path: Path, openai_stream: OpenAiStream
) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("what,is,this\n")
    ended = _load(tmp_path, openai_stream.url, "--arrivals", "replay", "--trace", str(trace))
    assert ended.returncode == 2
    assert "not a known request trace" in ended.stderr
    assert openai_stream.bodies == []


def test_the_ready_deployment_is_loaded_and_that_is_said(
    tmp_path: Path, openai_stream: OpenAiStream
) -> None:
    openai_stream.ready = {"asleep": 0, "awake": 2}
    ended = _load(tmp_path, openai_stream.url, "--max-requests", "1", "--output-tokens", "2")
    assert ended.returncode == 0, ended.stderr
    assert {body["model"] for body in openai_stream.bodies} == {"awake"}
    assert ended.stdout.startswith("load test of awake (of 2 deployments the first with the most")
    assert "2 replicas are ready" in (tmp_path / "summary.md").read_text()


def test_help_shows_values_and_defaults_of_every_option(tmp_path: Path) -> None:
    shown = _load(tmp_path, "", "--help").stdout
    for said in ("{closed,constant,poisson,bursts,replay}", "(default: 30s)", "--burst-size"):
        assert said in shown
