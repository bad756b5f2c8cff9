"""What a config says of rotary positions, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.importer.architectures.base import count, real
from control_plane.importer.errors import Corrupt, Unsupported

_KINDS = ("default", "linear", "llama3", "yarn")


def read_rope(
    raw: Mapping[str, Any], default_theta: float = 1e4
) -> tuple[float, dict[str, Any] | None]:
    """Theta and scaling, from where either generation of config.json keeps them.

    Raises:
        ImportRefused: a value is impossible, or the scaling is of a kind that cannot be run.
    """
    return check_rope(
        raw.get("rope_parameters") or raw.get("rope_scaling"), raw.get("rope_theta"), default_theta
    )


def check_rope(
    scaling: Any, theta: Any, default_theta: float
) -> tuple[float, dict[str, Any] | None]:
    """The same of one kind of layer: `theta` holds where `scaling` has none of its own."""
    scaling = scaling or {}
    if not isinstance(scaling, dict):
        raise Corrupt(f"the model's configuration has a rope_scaling that is {scaling!r}")
    if any(isinstance(value, dict) for value in scaling.values()):
        raise Unsupported("RoPE of a kind for each layer is not supported here")
    theta = real({"rope_theta": scaling.get("rope_theta", theta)}, "rope_theta", default_theta)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in _KINDS:
        known = ", ".join(_KINDS)
        raise Unsupported(f"RoPE of type {kind!r} is not supported; supported: {known}")
    if kind == "default":
        return theta, None
    real(scaling, "factor")
    return theta, scaling


def context_tokens(declared: int, scaling: Mapping[str, Any] | None) -> int:
    """The longest sequence. YaRN is switched on by hand (Qwen's cards say how), and then the
    config goes on to say the context from before."""
    if scaling is None or scaling.get("rope_type", scaling.get("type")) != "yarn":
        return declared
    if scaling.get("original_max_position_embeddings") is None:
        # Then what is declared is the context from before: another number would bend the angles.
        return declared
    original = count(scaling, "original_max_position_embeddings")
    longest = max(declared, round(original * real(scaling, "factor")))
    return count({"max_position_embeddings": longest}, "max_position_embeddings")
