"""Layers that are run as a program give the bits of layers that are called one after the other."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.fixtures.tiny_decoder import TinyDecoder
from worker.engine.assembly import assemble
from worker.engine.base import EngineSpec
from worker.engine.host_forward import HostForward
from worker.kernels.native.toolchain import multiplies
from worker.models import layer_sequence
from worker.models.base import Placement
from worker.models.layers import attention
from worker.models.layers.attention import Attention, AttentionShape
from worker.scheduling.plan import StepResult
from worker.scheduling.scheduler import Scheduler
from worker.scheduling.sequence import Sequence

KINDS = [{"dtype": "float32"}, {"dtype": "bfloat16"}, {"quantization": "int8"}]


def logits_of_steps(directory: Path, kind: dict[str, str]) -> list[Tensor]:
    """Sequences that come and end at different times, over more blocks than a table starts with."""
    options: dict[str, Any] = {"kv_cache_tokens": 512, "block_tokens": 4, "max_running": 4, **kind}
    parts = assemble(EngineSpec("replica", directory, {**options, "step_token_budget": 24}))
    scheduler = Scheduler(parts.limits)
    for number, (prompt, output) in enumerate([(20, 30), (3, 9), (30, 24), (7, 25)]):
        tokens = [(7 * number + 3 * i) % 97 for i in range(prompt)]
        scheduler.add(Sequence(number, tokens, prompt, prompt + output))
    found = []
    while (plan := scheduler.plan(0.0)) is not None:
        logits = parts.runner.logits(plan)
        sampling = [part.sequence.sequence_id for part in plan.slices if part.samples]
        tokens = logits.argmax(dim=-1).tolist()
        found.append(logits)
        scheduler.commit(StepResult({i: [t] for i, t in zip(sampling, tokens, strict=True)}))
    return found


@pytest.fixture(params=["Llama", "Qwen2"])
def directory(request: pytest.FixtureRequest, tiny_decoder: TinyDecoder) -> Path:
    # Layers take the same memory in turns: with five, some of it is written three times.
    return tiny_decoder(request.param, num_hidden_layers=5)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(*kind.values()))
def test_recorded_steps_are_the_plain_ones(
    directory: Path, kind: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = logits_of_steps(directory, kind)

    def plainly(
        self: layer_sequence.LayerSequence, given: Any, cache: Any, gate: Any = None
    ) -> tuple[Tensor, Tensor]:
        begin_layer = gate or (lambda _part: None)
        return layer_sequence.run_layers(self._layers, given, cache, begin_layer)

    monkeypatch.setattr(layer_sequence.LayerSequence, "__call__", plainly)
    plain = logits_of_steps(directory, kind)
    assert len(recorded) == len(plain)
    assert all(torch.equal(mine, its) for mine, its in zip(recorded, plain, strict=True))


def test_a_step_whose_attention_is_the_references_is_not_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Activations of bf16 beside weights of int8, on a CPU that multiplies only the latter."""
    placement = Placement(torch.bfloat16, torch.device("cpu"), 64, False, "int8")
    layer = Attention(AttentionShape(width=64, heads=2, kv_heads=2, head_width=32), placement)
    assert layer.recordable == multiplies(torch.bfloat16)
    monkeypatch.setattr(attention, "multiplies", lambda dtype: dtype != torch.bfloat16)
    assert not layer.recordable


def test_a_kept_step_holds_no_cache_that_its_engine_let_go(
    tiny_decoder: TinyDecoder,
) -> None:
    options = {"dtype": "float32", "kv_cache_tokens": 256}
    parts = assemble(EngineSpec("replica", tiny_decoder("Llama"), options))
    scheduler = Scheduler(parts.limits)
    scheduler.add(Sequence(0, [1, 2, 3], 3, 4))
    plan = scheduler.plan(0.0)
    assert plan is not None
    parts.runner.logits(plan)
    forward = parts.runner.forward
    assert isinstance(forward, HostForward)
    cache, model = weakref.ref(forward.cache), forward.model
    del parts, forward
    gc.collect()
    assert model is not None and cache() is None
