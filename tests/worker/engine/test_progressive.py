"""Layers run as their weights land, and say what they would have said later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.wire import JobSpec, Sampling
from tests.fixtures.packed_model import PackedModel
from tests.fixtures.tiny_decoder import TinyDecoder
from worker.engine.assembly import assemble
from worker.engine.base import EngineError, EngineSpec
from worker.engine.torch_engine import TorchEngine, build
from worker.loader.arena import Arena
from worker.loader.file_tier import FileTier
from worker.loader.landing import Landing, OwnLanding
from worker.loader.package import read_head

OPTIONS = {"kv_cache_tokens": 1024, "max_context_tokens": 64, "max_running": 4}
LAYERS = 6


@pytest.fixture(scope="module")
def packed(tiny_decoder: TinyDecoder, packed_model: PackedModel) -> Path:
    return packed_model(tiny_decoder("Llama", num_hidden_layers=LAYERS, hidden_size=192))


@pytest.fixture
def landing(packed: Path) -> Iterator[OwnLanding]:
    index, header = read_head(packed)
    landing = Landing.create(index, header, Arena(index.data_bytes))
    yield landing
    landing.fail("the test is over")


def land(landing: OwnLanding, packed: Path, end: int) -> None:
    """Bring the chunks up to this byte of the data."""
    tier = FileTier(packed, landing.index)
    for chunk in landing.missing():
        if landing.index.chunk_range(chunk)[0] < end:
            tier.read(chunk, landing.room(chunk))
            landing.landed(chunk)


def tokens(engine: TorchEngine) -> list[int]:
    """What a prompt is continued with."""
    sampling = Sampling(max_tokens=8, temperature=0, ignore_eos=True)
    assert engine.submit(JobSpec("job", "", [5, 17, 33, 2, 60], sampling), 0) is None
    said = []
    while engine.stats().running + engine.stats().waiting:
        said += [token for event in engine.step() for token in event.tokens]
    return said


class Passed:
    """Which parts of a model forward passes have entered."""

    def __init__(self, engine: TorchEngine) -> None:
        model = engine._assembly.model
        gate = model.gate
        assert gate is not None
        self.parts: list[int] = []
        self._changes = threading.Condition()

        def pass_through(part: int) -> None:
            gate(part)
            with self._changes:
                self.parts.append(part)
                self._changes.notify_all()

        model.gate = pass_through

    def wait(self, count: int) -> bool:
        with self._changes:
            return self._changes.wait_for(lambda: len(self.parts) >= count, timeout=20)


def test_layers_run_before_the_last_chunk_has_landed(packed: Path, landing: OwnLanding) -> None:
    whole = tokens(TorchEngine(assemble(EngineSpec("whole", packed, OPTIONS))))
    engine = TorchEngine(assemble(EngineSpec("replica", packed, OPTIONS, landing=landing.path)))
    engine.warm_up()
    passed = Passed(engine)
    said: list[int] = []
    running = threading.Thread(target=lambda: said.extend(tokens(engine)), daemon=True)
    running.start()
    for number, group in enumerate(landing.index.groups[:-1]):
        assert len(passed.parts) <= number
        land(landing, packed, group.end)
        assert passed.wait(number + 1)
    assert landing.missing()
    assert engine.expected_step_s() > 1
    land(landing, packed, landing.index.data_bytes)
    running.join()
    assert said == whole
    assert passed.parts[: LAYERS + 2] == list(range(LAYERS + 2))


def test_an_engine_takes_jobs_when_the_rest_is_near(packed: Path, landing: OwnLanding) -> None:
    spec = EngineSpec("replica", packed, OPTIONS, landing=landing.path)
    made: list[object] = []
    building = threading.Thread(target=lambda: made.append(build(spec)), daemon=True)
    building.start()
    building.join(0.2)
    assert not made
    land(landing, packed, landing.index.data_bytes)
    building.join()
    assert len(made) == 1


def test_weights_that_stop_coming_end_the_step_that_waits_for_them(
    packed: Path, landing: OwnLanding
) -> None:
    land(landing, packed, landing.index.groups[1].end)
    engine = TorchEngine(assemble(EngineSpec("replica", packed, OPTIONS, landing=landing.path)))
    landing.fail("model.safetensors: chunk 3 of 9 cannot be had")
    with pytest.raises(EngineError, match=r"the weights did not come: .*chunk 3 of 9"):
        tokens(engine)


def test_what_is_warmed_up_without_weights_is_cached_for_nobody(packed: Path) -> None:
    engine = build(EngineSpec("replica", packed, OPTIONS))
    assert isinstance(engine, TorchEngine)
    sampling = Sampling(max_tokens=1, temperature=0)
    engine.submit(JobSpec("job", "", [0] * 40, sampling), 0)
    while engine.stats().running + engine.stats().waiting:
        engine.step()
    assert engine.stats().prefix_hit_tokens == 0
