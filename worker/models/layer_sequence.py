"""The layers of a decoder, one after the other: run as they are called, or recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from weakref import ref

from torch import Tensor

from worker.models.base import Gate, LayerCache, Placement, StepInput, WeightTarget
from worker.models.layers.attention import AttentionStep
from worker.models.layers.rope import RotationTable

if TYPE_CHECKING:  # numba may be missing
    from worker.kernels.native.program import Program

MOST_KEPT_ROWS = 64
"""Programs of so few rows are kept: they are repeated, and calling their layers would take longer
than some of their work."""


class DecoderLayer(Protocol):
    @property
    def recordable(self) -> bool:
        """Whether it does nothing on a CPU but to run tasks, so that a program can record it."""

    def tensors(self) -> dict[str, WeightTarget]:
        """By their names within the layer."""

    def __call__(
        self, hidden: Tensor, residual: Tensor | None, step: AttentionStep
    ) -> tuple[Tensor, Tensor]:
        """What the layer adds, and what it adds to; each [rows, width]."""


Layers = Sequence[tuple[DecoderLayer, RotationTable]]
Rotations = dict[RotationTable, tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class LayerInput:
    """What all layers of a step read."""

    hidden: Tensor
    """[rows, width]: the embedded tokens."""
    rotations: Rotations
    step: StepInput

    def take_over(self, other: LayerInput) -> bool:
        """Hold what another input says, in the memory of this one; returns False where this is of
        another shape."""
        if not self.step.attention.take_over(other.step.attention):
            return False
        self.hidden.copy_(other.hidden)
        self.step.slots.copy_(other.step.slots)
        for table, rotation in self.rotations.items():
            for held, new in zip(rotation, other.rotations[table], strict=True):
                held.copy_(new)
        return True


def run_layers(
    layers: Layers,
    given: LayerInput,
    cache: LayerCache,
    begin_layer: Gate = lambda _part: None,
) -> tuple[Tensor, Tensor]:
    """What the last layer adds, and what it adds to; each [rows, width].

    Args:
        begin_layer: called with 1, 2 .. before each.
    """
    hidden, residual = given.hidden, None
    for index, (layer, table) in enumerate(layers):
        begin_layer(index + 1)
        attention = AttentionStep(
            given.rotations[table],
            given.step.slots,
            cache.layer(index),
            given.step.attention,
            cache.scales(index),
        )
        hidden, residual = layer(hidden, residual, attention)
    assert residual is not None
    return hidden, residual


@dataclass(frozen=True, slots=True)
class _Kept:
    program: Program
    given: LayerInput
    cache: ref[LayerCache]
    """Not held: an engine that sleeps lets its cache go."""
    result: tuple[Tensor, Tensor]


class LayerSequence:
    """Runs the layers; on a CPU as one program, where all of them can be recorded.

    A program of few rows is kept, as a GPU's graphs are, with inputs of its own that later steps of
    as many rows are copied into.
    """

    def __init__(self, layers: Layers, placement: Placement) -> None:
        self._layers = layers
        self._dtype = placement.dtype
        self._recordable = placement.device.type == "cpu" and all(
            layer.recordable for layer, _ in layers
        )
        self._kept: dict[int, _Kept] = {}
        """By rows."""
        if self._recordable:
            from worker.kernels.native.program import Scratch

            self._scratch = Scratch()

    def forget(self) -> None:
        """Let go of all programs, and with them of the cache that they were recorded on."""
        self._kept.clear()
        if self._recordable:
            from worker.kernels.native.program import Scratch

            self._scratch = Scratch()

    def __call__(
        self, given: LayerInput, cache: LayerCache, gate: Gate | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `run_layers`; the result is overwritten by the next call. Layers that have to wait at
        a gate are not recorded."""
        if gate is not None:
            return run_layers(self._layers, given, cache, gate)
        plain = cache.scales(0) is None and cache.layer(0)[0].dtype == self._dtype
        if not (self._recordable and plain):
            return run_layers(self._layers, given, cache)
        rows = len(given.hidden)
        kept = self._kept.get(rows)
        if kept is None or kept.cache() is not cache or not kept.given.take_over(given):
            kept = self._record(given, cache)
            if rows <= MOST_KEPT_ROWS:
                self._kept[rows] = kept
        kept.program.run()
        return kept.result

    def _record(self, given: LayerInput, cache: LayerCache) -> _Kept:
        from worker.kernels.native.program import Program

        program = Program(self._scratch)
        with program.recording():
            result = run_layers(self._layers, given, cache, lambda _: program.begin_layer())
        return _Kept(program, given, ref(cache), result)
