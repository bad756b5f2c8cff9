"""A GPU's forward pass gives the tokens of the CPU's, eagerly and from graphs.

Without a GPU the kernel is interpreted, and what a graph replays is called again: it reads nothing
but the tensors that it was recorded on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch

from infra.wire import JobSpec, Sampling
from tests.fixtures.tiny_llama import TinyLlama
from worker.engine.assembly import Assembly, assemble
from worker.engine.base import EngineSpec
from worker.engine.decode_graphs import Body, Capture, CudaCapture, DecodeGraphs, graph_sizes
from worker.engine.device_forward import DeviceForward
from worker.engine.host_forward import HostForward
from worker.engine.kv_cache import KvCache
from worker.engine.loop import OverlappedLoop
from worker.engine.runner import Runner
from worker.engine.sampler import Sampler
from worker.engine.torch_engine import TorchEngine
from worker.loader.checkpoint import Checkpoint
from worker.loader.weights import fill_part
from worker.models.base import Placement
from worker.models.layers import attention
from worker.models.registry import builder_of, read_json

TABLE_BLOCKS = 8
OPTIONS = {
    "dtype": "float32",
    "max_context_tokens": 32,
    "max_running": 4,
    "step_token_budget": 12,
    "kv_cache_tokens": 64,
    "block_tokens": 4,
}
PROMPTS = [[3, 9, 60], [71] * 9, [80, 3], [96, 5, 11, 4]]


class Recording:
    """Counts replays of a capture; without one, calls again what was recorded."""

    def __init__(self, capture: Capture | None) -> None:
        self.replays = 0
        self._capture = capture

    def __call__(self, body: Body) -> Body:
        recorded = self._capture(body) if self._capture else body

        def replay() -> None:
            self.replays += 1
            recorded()

        return replay


@pytest.fixture(scope="module")
def directory(tiny_llama: TinyLlama) -> Path:
    return tiny_llama(num_hidden_layers=1)


@pytest.fixture(scope="module")
def assembly(directory: Path) -> Assembly:
    return assemble(EngineSpec("replica", directory, {**OPTIONS, "device": "cpu"}))


@pytest.fixture(scope="module")
def expected(assembly: Assembly) -> dict[str, list[int]]:
    return outputs(assembly, assembly.runner, assembly.sampler)


@pytest.fixture
def forward(
    directory: Path,
    assembly: Assembly,
    gpu_kernel: Callable[[str], ModuleType],
    kernel_device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
) -> DeviceForward:
    if kernel_device.type == "cpu":
        kernel = gpu_kernel("paged_attention").paged_attention
        monkeypatch.setattr(attention, "paged_attention", kernel)
        # It is no task of a CPU's program.
        monkeypatch.setattr(attention.Attention, "recordable", False)
    host = assembly.runner.forward
    assert isinstance(host, HostForward)
    limits, shape = assembly.limits, host.model.shape
    cache = KvCache(shape, limits.blocks, limits.block_tokens, torch.float32, kernel_device)
    for layer in range(shape.layers):
        for tensor in cache.layer(layer):
            # What nobody has written is not read, so nothing needs to be cleared.
            tensor.fill_(torch.nan)
    config = read_json(directory / "config.json")
    model = builder_of(config)(config, Placement(torch.float32, kernel_device, 32))
    fill_part(model.tensors(), Checkpoint(directory))
    return DeviceForward(model, cache, limits, TABLE_BLOCKS, kernel_device)


def outputs(assembly: Assembly, runner: Runner, sampler: Sampler) -> dict[str, list[int]]:
    """Prompts that arrive one a step, so that steps are mixed, then shrinking decodes."""
    loop = partial(OverlappedLoop, runner=runner, threaded=False)
    engine = TorchEngine(replace(assembly, loop=loop, sampler=sampler))
    tokens: dict[str, list[int]] = {str(number): [] for number in range(len(PROMPTS))}
    for step in range(40):
        if step < len(PROMPTS):
            sampling = Sampling(4 + step, temperature=1.0, seed=step, ignore_eos=True)
            engine.submit(JobSpec(str(step), "request", PROMPTS[step], sampling), 1)
        for event in engine.step():
            tokens[event.job_id] += event.tokens
    assert engine.stats().running + engine.stats().waiting == 0
    return tokens


def outputs_of(
    assembly: Assembly, forward: DeviceForward, device: torch.device
) -> dict[str, list[int]]:
    sampler = Sampler(assembly.vocabulary, device)
    return outputs(assembly, Runner(forward, assembly.limits.block_tokens, sampler), sampler)


def test_eager_steps(
    assembly: Assembly,
    expected: dict[str, list[int]],
    forward: DeviceForward,
    kernel_device: torch.device,
) -> None:
    assert outputs_of(assembly, forward, kernel_device) == expected


def test_replayed_decodes(
    assembly: Assembly,
    expected: dict[str, list[int]],
    forward: DeviceForward,
    kernel_device: torch.device,
) -> None:
    recording = Recording(CudaCapture() if kernel_device.type == "cuda" else None)
    heard: list[tuple[int, int]] = []
    forward.record([1, 4], recording, lambda *done: heard.append(done))
    assert heard == [(1, 2), (2, 2)]
    assert outputs_of(assembly, forward, kernel_device) == expected
    assert recording.replays >= 4, "the test proves nothing"


def test_sizes_rise_to_the_most_that_may_run_and_pad_little() -> None:
    assert graph_sizes(1) == [1]
    assert graph_sizes(6) == [1, 2, 4, 6]
    assert graph_sizes(40) == [1, 2, 4, 8, 16, 32, 40]
    assert graph_sizes(1024)[-1] == 512


def test_a_batch_runs_in_the_smallest_graph_that_holds_it_recorded_largest_first() -> None:
    recorded: list[int] = []
    replayed: list[int] = []

    def body_of(size: int) -> Body:
        recorded.append(size)
        return lambda: replayed.append(size)

    graphs = DecodeGraphs.record([1, 2, 4], body_of, lambda body: body, lambda *_: None)
    assert recorded == [4, 2, 1]
    assert [graphs.size_for(rows) for rows in (1, 2, 3, 4, 5)] == [1, 2, 4, 4, None]
    graphs.replay(2)
    assert replayed == [2]
