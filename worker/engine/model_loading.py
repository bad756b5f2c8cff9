"""A model out of its config and its weights: checked, built, and being filled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from worker.engine.memory import require_bytes
from worker.engine.options import Options
from worker.kernels.native.toolchain import multiplies
from worker.loader.arrival import Arrival
from worker.loader.staged_fill import StagedFill
from worker.loader.weight_source import WeightSource
from worker.loader.weights import check_weights, fill_part
from worker.models.base import Model, ModelError, ModelShape, Placement, Quantization
from worker.models.registry import builder_of


def choose_quantization(
    options: Options, device: torch.device, quantised: bool = False
) -> Quantization:
    """What is asked for; else int8 on a CPU whose instructions multiply it, where it is the fastest
    by far. Who names a dtype gets weights of that dtype.

    Args:
        quantised: whether the weights come as int8. Then they stay so where int8 is fast, and
            become floats again where it is not.

    Raises:
        ModelError: the options ask for weights that int8 ones cannot become.
    """
    if quantised and options.quantization == "none":
        raise ModelError(
            "the package holds int8 weights, and quantization is 'none': what was rounded does not "
            "come back; import the model without int8, or leave quantization out"
        )
    if options.quantization != "auto":
        return options.quantization
    fast = device.type == "cpu" and multiplies(torch.int8)
    return "int8" if fast and (quantised or options.dtype == "auto") else "none"


def check_model(config: dict[str, Any], source: WeightSource) -> ModelShape:
    """Compare config and headers on a model without memory. Raises ModelError."""
    placement = Placement(torch.float32, torch.device("meta"), max_positions=1)
    model = builder_of(config)(config, placement)
    check_weights(model.tensors(), source, model.unread)
    return model.shape


def begin_model(
    config: dict[str, Any], source: WeightSource, placement: Placement
) -> tuple[Model, Arrival]:
    """Make room for a model and begin to fill it.

    Raises:
        EngineError: memory does not hold it.
    """
    build = builder_of(config)
    outline = build(config, replace(placement, device=torch.device("meta"), max_positions=1))
    needed = sum(each.nbytes for each in outline.tensors().values())
    require_bytes(needed, "the model", placement.device)
    model = build(config, placement)
    on_gpu = placement.device.type == "cuda"
    arrival = Arrival(model, source, StagedFill(placement.device) if on_gpu else fill_part)
    arrival.start()
    return model, arrival
