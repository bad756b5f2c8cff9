"""The rows that compare two arms at the same number of streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from loadtests.benchmarks.engine.workload import LEVELS

BF16 = "ours.bf16"
INT8 = "ours.int8"
EXACT = "ours.exact"
FP32 = "ours.fp32"

OURS: Mapping[str, Mapping[str, Any]] = {
    BF16: {"dtype": "bfloat16", "quantization": "none"},
    FP32: {"dtype": "float32", "quantization": "none"},
    INT8: {"quantization": "int8"},
    EXACT: {"quantization": "int8", "exact": True},
}
"""Engine options of our arms."""
_EXACT_STREAMS = 8


@dataclass(frozen=True, slots=True)
class Comparison:
    name: str
    ours: str
    peer: str
    streams: int
    goal: float | None = None
    """For ours ÷ peer."""

    @property
    def arms(self) -> tuple[str, str]:
        return self.ours, self.peer


def _against(ours: str, peer: str, label: str, goals: Mapping[int, float]) -> list[Comparison]:
    kind = ours.removeprefix("ours.")
    return [
        Comparison(f"cpu.{kind}.{streams}_streams.vs_{label}", ours, peer, streams, goal)
        for streams, goal in ((each, goals.get(each)) for each in LEVELS)
    ]


_AHEAD = {8: 1.0, 32: 1.0}
COMPARISONS: tuple[Comparison, ...] = (
    *_against(BF16, "vllm", "vllm_cpu", _AHEAD),
    *_against(INT8, "vllm", "vllm_cpu", {8: 1.8, 32: 1.8}),
    *_against(INT8, "llama_cpp", "llama_cpp", {1: 1.0, **_AHEAD}),
    *_against(INT8, "llama_cpp_native", "llama_cpp_native", {1: 1.0, **_AHEAD}),
    *_against(INT8, "ctranslate2", "ctranslate2", _AHEAD),
    *_against(BF16, "transformers", "transformers", _AHEAD),
    Comparison("exact.vs_fast", EXACT, INT8, _EXACT_STREAMS),
)


def arms_of(comparisons: Iterable[Comparison]) -> list[str]:
    """Each arm once, in the order of the table."""
    return list(dict.fromkeys(arm for each in comparisons for arm in each.arms))
