from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from loadtests.traces.reader import read_requests
from loadtests.traces.request import MalformedTrace, TraceRequest, at_speed, capped

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9305900,396,109
2023-11-16 18:15:51.1805900,879,55
"""
SERVEGEN = "arrival_s,input_tokens,output_tokens,client\n1.5,160,34,45\n2.25,61,38,83\n"
MOONCAKE = (
    '{"timestamp": 1000, "input_length": 40, "output_length": 6, "hash_ids": [0]}\n'
    '{"timestamp": 1500, "input_length": 36, "output_length": 4, "hash_ids": [1]}\n'
)


def _write(folder: Path, text: str, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_azure_requests_start_at_zero_and_keep_their_gaps(tmp_path: Path) -> None:
    requests = list(read_requests(_write(tmp_path, AZURE)))
    assert [each.arrival_s for each in requests] == pytest.approx([0.0, 4.25, 4.5], abs=1e-5)
    assert [each.prompt_tokens for each in requests] == [374, 396, 879]
    assert [each.output_tokens for each in requests] == [44, 109, 55]


def test_servegen_requests_are_read_from_gzip(tmp_path: Path) -> None:
    path = tmp_path / "m.csv.gz"
    path.write_bytes(gzip.compress(SERVEGEN.encode()))
    assert list(read_requests(path)) == [TraceRequest(0.0, 160, 34), TraceRequest(0.75, 61, 38)]


def test_mooncake_timestamps_are_milliseconds(tmp_path: Path) -> None:
    path = _write(tmp_path, MOONCAKE, "m.jsonl")
    assert list(read_requests(path)) == [TraceRequest(0.0, 40, 6), TraceRequest(0.5, 36, 4)]


def test_a_replay_can_be_faster() -> None:
    trace = [TraceRequest(float(second), 1, 1) for second in range(3)]
    assert [each.arrival_s for each in at_speed(trace, speed=4)] == [0.0, 0.25, 0.5]


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_replay_needs_a_speed(speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        list(at_speed([], speed))


def test_requests_are_cut_to_what_a_model_can_take() -> None:
    assert capped(TraceRequest(1.0, 5000, 10), 1024, 256) == TraceRequest(1.0, 1024, 10)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,c\n1,2,3\n", "not a known request trace"),
        ("", "not a known request trace"),
        (AZURE + "yesterday,1,2\n", r"trace\.csv:5: Invalid isoformat"),
        (AZURE + "2023-11-16 18:15:52,many,2\n", r"trace\.csv:5: invalid literal"),
        (AZURE + "2023-11-16 18:15:52,1\n", r"trace\.csv:5"),
        (AZURE + "2023-11-16 18:15:52,1,-2\n", "negative"),
        (AZURE + "2023-11-16 18:15:47,1,2\n", "before the request above"),
        (SERVEGEN + "nan,1,2,3\n", "before the request above"),
        (MOONCAKE + "{\n", r"trace\.csv:3"),
    ],
)
def test_a_wrong_trace_names_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(MalformedTrace, match=said):
        list(read_requests(_write(tmp_path, text)))


def test_a_missing_trace_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(MalformedTrace, match="No such file"):
        read_requests(tmp_path / "nowhere.csv")
