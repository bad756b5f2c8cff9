"""What a GPU's memory is spent on: nothing is promised twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from worker.engine.base import EngineError
from worker.engine.device import choose_device, with_gpu_defaults
from worker.engine.gpu_assembly import kv_blocks
from worker.engine.gpu_memory import Footprint
from worker.engine.options import read_options

GIB = 1 << 30


def test_the_cache_gets_what_weights_steps_graphs_and_others_leave() -> None:
    found = Footprint(step_bytes=2 * GIB, graph_bytes=GIB).kv_bytes(60 * GIB, 80 * GIB, 0.9)
    assert 48 * GIB < found < 49 * GIB


def test_a_step_larger_than_what_is_free_says_what_to_lower() -> None:
    with pytest.raises(EngineError, match="lower step_token_budget"):
        Footprint(70 * GIB, GIB).kv_bytes(60 * GIB, 80 * GIB, 0.9)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"max_running": 2}, 20),
        ({"max_running": 64}, 99),
        ({"kv_cache_tokens": 16 * 30}, 30),
        ({"kv_cache_bytes": 1 << 16}, 63),
    ],
)
def test_blocks_follow_the_options_within_the_budget(values: dict[str, Any], expected: int) -> None:
    assert kv_blocks(read_options(values), 10, 1 << 10, 100 << 10) == expected


@pytest.mark.parametrize("values", [{"kv_cache_tokens": 1 << 20}, {"kv_cache_tokens": 16}])
def test_a_cache_that_is_too_large_or_holds_no_sequence_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="lower max_context_tokens"):
        kv_blocks(read_options(values), 10, 1 << 20, 100 << 20)


def test_a_gpu_runs_more_at_once_unless_it_is_told_otherwise() -> None:
    usual = read_options(with_gpu_defaults({}))
    assert usual.max_running > 32
    assert read_options(with_gpu_defaults({"step_token_budget": 64})).max_running == 64
    assert read_options(with_gpu_defaults({"max_running": 5})).max_running == 5


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_asked_for_and_not_there_is_said() -> None:
    assert choose_device("auto").type == choose_device("cpu").type == "cpu"
    with pytest.raises(EngineError, match="finds no GPU: check nvidia-smi"):
        choose_device("cuda")
