"""Money as whole millionths of a US dollar, so that parts add up to what was split."""

from __future__ import annotations

from collections.abc import Mapping

MICROS = 1_000_000


def usd_micros(usd: float) -> int:
    """US dollars as millionths, rounded."""
    return round(usd * MICROS)


def split(total_micros: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Shares by weight that add up to the total, to the last millionth (largest remainders, as
    Hamilton gave out seats). Weights that are all 0 count alike.

    Raises:
        ValueError: there is nobody to share it, or somebody's weight is negative.
    """
    if not weights or min(weights.values()) < 0:
        raise ValueError("give at least one weight, and none below 0")
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    whole = sum(weights.values())
    shares, remainders = {}, {}
    for name, weight in weights.items():
        shares[name], remainders[name] = divmod(total_micros * weight, whole)
    left = total_micros - sum(shares.values())
    # By name where remainders are equal: the same split again must be the same.
    for name in sorted(remainders, key=lambda name: (-remainders[name], name))[:left]:
        shares[name] += 1
    return shares
