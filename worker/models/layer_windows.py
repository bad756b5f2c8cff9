"""Which layers see a sliding window, from `layer_types` of a config."""

from __future__ import annotations

from collections.abc import Sequence

from worker.models.base import ModelError

FULL, SLIDING = "full_attention", "sliding_attention"


def layer_windows(layer_types: Sequence[str], window: int | None, layers: int) -> list[int]:
    """How many positions each layer sees; 0 is all of them.

    Raises:
        ModelError: the types do not fit the number of layers or the window, or one is unknown.
    """
    if len(layer_types) != layers:
        raise ModelError(
            f"config.json: layer_types names {len(layer_types)} layers, num_hidden_layers {layers}"
        )
    if unknown := set(layer_types) - {FULL, SLIDING}:
        raise ModelError(
            f"config.json: layer type {min(unknown)!r} is not supported ({FULL} and {SLIDING} are)"
        )
    if SLIDING in layer_types and window is None:
        raise ModelError("config.json: layer_types has sliding layers, sliding_window is not given")
    return [window or 0 if each == SLIDING else 0 for each in layer_types]
