"""The tensors of a mixture of experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.importer.architectures.base import Shape, count
from control_plane.importer.architectures.decoder import gated_mlp
from control_plane.importer.errors import Corrupt

_EXPERT_LIMIT = 4096


def read_experts(
    raw: Mapping[str, Any], key: str, experts_default: int, chosen_default: int
) -> dict[str, Any]:
    """How many experts a layer has, and how many of them a token meets, checked."""
    experts = count(raw, key, experts_default)
    chosen = count(raw, "num_experts_per_tok", chosen_default)
    if chosen > experts:
        raise Corrupt(f"num_experts_per_tok is {chosen}, of {experts} experts")
    if experts > _EXPERT_LIMIT:
        raise Corrupt(f"{experts} experts: no model has more than {_EXPERT_LIMIT}")
    return {key: experts, "num_experts_per_tok": chosen}


def expert_mlps(
    prefix: str,
    experts: int,
    hidden: int,
    inner: int,
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
) -> dict[str, Shape]:
    """Name and shape of the router and of every expert's matrices: first all that is multiplied
    first, so that a product of many experts reads one piece (`worker/models/layers/sparse_mlp`)."""
    tensors: dict[str, Shape] = {f"{prefix}gate.weight": (experts, hidden)}
    mlps = [
        gated_mlp(f"{prefix}experts.{expert}.", hidden, inner, names) for expert in range(experts)
    ]
    down = f".{names[2]}.weight"
    for last in (False, True):
        for mlp in mlps:
            tensors |= {name: shape for name, shape in mlp.items() if name.endswith(down) is last}
    return tensors
