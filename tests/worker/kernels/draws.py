"""Draws for tests of the choice of tokens."""

from __future__ import annotations

from worker.kernels.sampling import Draw


def draw(
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    index: int = 0,
    min_p: float = 0.0,
) -> Draw:
    return Draw(temperature, top_k, top_p, seed, 0, index, min_p)


MIXED = [
    draw(temperature=0),
    draw(seed=-1),
    draw(temperature=0.3, seed=1 << 62),
    draw(top_k=5, index=7),
    draw(top_p=0.4, index=8),
    draw(temperature=2.5, top_k=700, top_p=0.9, index=1 << 20),
    draw(top_k=1),
    draw(top_p=1e-9),
    draw(top_k=1 << 30, top_p=0.999),
    draw(temperature=1e-30),
    draw(min_p=0.1, index=9),
    draw(temperature=0.5, top_k=50, top_p=0.95, min_p=0.02, seed=5),
    draw(min_p=1.0),
]
