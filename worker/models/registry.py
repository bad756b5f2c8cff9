"""The architectures that we can run, by the name that `config.json` gives them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker.models.base import Model, ModelError, Placement
from worker.models.gemma3 import build_gemma3
from worker.models.llama import build_llama
from worker.models.mistral import build_mistral
from worker.models.mixtral import build_mixtral
from worker.models.qwen2 import build_qwen2
from worker.models.qwen3 import build_qwen3
from worker.models.qwen3_moe import build_qwen3_moe

ModelBuilder = Callable[[dict[str, Any], Placement], Model]


ARCHITECTURES: dict[str, ModelBuilder] = {
    "Gemma3ForCausalLM": build_gemma3,
    "LlamaForCausalLM": build_llama,
    "MistralForCausalLM": build_mistral,
    "MixtralForCausalLM": build_mixtral,
    "Qwen2ForCausalLM": build_qwen2,
    "Qwen3ForCausalLM": build_qwen3,
    "Qwen3MoeForCausalLM": build_qwen3_moe,
}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model directory.

    Raises:
        ModelError: the file is missing, or is no JSON object.
    """
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing: is this a registered model?") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} must hold a JSON object")
    return values


def builder_of(config: dict[str, Any]) -> ModelBuilder:
    """The builder of the first architecture that a config names.

    Raises:
        ModelError: none of its architectures is known here.
    """
    named = config.get("architectures")
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ModelError("config.json: 'architectures' must be a list of names")
    for name in named:
        if name in ARCHITECTURES:
            return ARCHITECTURES[name]
    known = ", ".join(sorted(ARCHITECTURES))
    raise ModelError(
        f"architecture {', '.join(named) or '(none)'} is not supported (known: {known})"
    )
