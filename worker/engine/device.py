"""Where an engine computes, and what is usual there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from worker.engine.base import EngineError

GPU_RUNNING = 256
GPU_STEP_TOKENS = 4096


def with_gpu_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options with what is usual on a GPU in the place of what was not said: it reads its weights
    once for all rows of a step, so more of them cost little."""
    step_tokens = values.get("step_token_budget", GPU_STEP_TOKENS)
    usual = {"max_running": min(GPU_RUNNING, step_tokens), "step_token_budget": step_tokens}
    return {**usual, **values}


def choose_device(name: str) -> torch.device:
    """The device that the option asks for; `auto` is the first GPU that this process sees, if any.

    Raises:
        EngineError: a GPU is asked for, and torch cannot use one here.
    """
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        build = torch.version.cuda or "no CUDA"
        raise EngineError(
            f"device is 'cuda', but torch {torch.__version__} (built for {build}) finds no GPU: "
            "check nvidia-smi, or leave the option out"
        )
    return torch.device("cuda", 0) if found and name != "cpu" else torch.device("cpu")
