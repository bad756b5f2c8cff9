"""An engine that slept is as good as before, and what it freed is free."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch

from infra.wire import JobSpec, Sampling
from tests.fixtures.tiny_llama import TinyLlama
from worker.engine import assembly
from worker.engine.base import EngineError, EngineSpec
from worker.engine.kv_cache import KvCache
from worker.engine.sleep import HostedWeights, storages_of
from worker.engine.torch_engine import TorchEngine, build, stand_by

OPTIONS = {"kv_cache_tokens": 1024, "max_context_tokens": 64, "max_running": 4}
PROMPT = [5, 17, 33, 2, 60]


@pytest.fixture
def engine(tiny_llama: TinyLlama) -> TorchEngine:
    found = build(EngineSpec("replica", Path(tiny_llama()), OPTIONS))
    assert isinstance(found, TorchEngine)
    return found


def output(engine: TorchEngine) -> list[int]:
    sampling = Sampling(max_tokens=8, temperature=0.0, ignore_eos=True)
    assert engine.submit(JobSpec("job", "request", PROMPT, sampling), 1) is None
    tokens: list[int] = []
    while engine.stats().running + engine.stats().waiting:
        tokens += [token for event in engine.step() for token in event.tokens]
    return tokens


def refuse(*_: object) -> None:
    raise EngineError("no room")


def test_an_engine_says_after_its_sleep_what_it_said_before(engine: TorchEngine) -> None:
    before = output(engine)
    engine.sleep()
    engine.sleep()
    engine.wake()
    assert output(engine) == before
    assert engine.stats().output_tokens == 2 * len(before), "it goes on counting"


def test_an_engine_that_does_not_wake_says_why_and_can_be_woken_again(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = output(engine)
    engine.sleep()
    with monkeypatch.context() as patch:
        patch.setattr(assembly, "require_bytes", refuse)
        with pytest.raises(EngineError, match="no room"):
            engine.wake()
    engine.wake()
    assert output(engine) == before


def test_an_engine_that_did_not_wake_can_be_closed(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.sleep()
    monkeypatch.setattr(assembly, "require_bytes", refuse)
    with pytest.raises(EngineError):
        engine.wake()
    engine.close()


def test_the_kv_cache_is_freed_while_it_sleeps(engine: TorchEngine) -> None:
    output(engine)
    caches = [weakref.ref(each) for each in gc.get_objects() if type(each) is KvCache]
    assert any(each() is not None for each in caches)
    engine.sleep()
    assert [each() for each in caches if each() is not None] == []
    assert engine.stats().running == 0


def test_what_runs_when_it_shall_sleep_is_forgotten(engine: TorchEngine) -> None:
    sampling = Sampling(max_tokens=8, temperature=0.0)
    engine.submit(JobSpec("job", "request", PROMPT, sampling), 1)
    engine.step()
    engine.sleep()
    assert engine.step() == []
    engine.wake()
    assert engine.stats().running == 0


def test_views_of_one_weight_are_one_storage() -> None:
    fused = torch.zeros(6, 4)
    assert len(storages_of([fused[:2], fused[2:], torch.zeros(3)])) == 2


def test_weights_in_host_memory_stay_where_they_are() -> None:
    weight = torch.ones(3)
    HostedWeights([weight, object()]).bring_back()
    assert weight.tolist() == [1.0, 1.0, 1.0]


def test_standing_by_needs_no_model() -> None:
    stand_by()
