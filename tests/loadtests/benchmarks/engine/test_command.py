"""The command, in a quick run of one part with a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtests.benchmarks.engine.__main__ import main
from tests.fixtures.tiny_llama import TinyLlama


def test_a_quick_run_of_one_part_prints_its_row_and_writes_it(
    tiny_llama: TinyLlama, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_llama(vocab_size=40_000, max_position_embeddings=4096)
    file = tmp_path / "found" / "engine.json"
    arguments = ["--quick", "--only", "chunked", "--model", str(model)]
    assert main([*arguments, "--cache", str(tmp_path), "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert [each["name"] for each in found["rows"]] == ["chunked.p99_itl_ratio"]
    [row] = found["rows"]
    assert row["ratio"] == pytest.approx(row["value"] / row["peer"])
    assert "chunked.p99_itl_ratio" in capsys.readouterr().out


def test_a_peer_that_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--peers", "ours,slowllm"])
    assert "unknown: slowllm" in capsys.readouterr().err
