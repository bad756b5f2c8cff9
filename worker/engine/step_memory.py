"""What a step takes beside weights and cache on a CPU, where nothing is reserved for it."""

from __future__ import annotations

from worker.models.base import ModelShape

_FP32_BYTES = 4
_LAYERS = 2
_LOGIT_COPIES = 5
"""The logits, what penalties and temperature make of them, and noise in fp64."""


def step_bytes(shape: ModelShape, rows: int, samples: int) -> int:
    """Upper estimate for a step of so many rows, so many of them sampled.

    Layers run one after the other, so it is what two of them hold, counted as fp32: a program of
    tasks keeps what one wrote while the next one runs.
    """
    logits = samples * shape.vocabulary * _LOGIT_COPIES
    return (_LAYERS * rows * shape.row_elements + logits) * _FP32_BYTES
