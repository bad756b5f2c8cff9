"""Sampling follows its distribution, and its noise follows (seed, choice, index) only."""

from __future__ import annotations

import math

import pytest
import torch

from worker.kernels.sampling import Draw, sample
from worker.kernels.sampling.noise import gumbel_noise, stream_key

MASK = (1 << 64) - 1


def draw(
    temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, seed: int = 0, index: int = 0
) -> Draw:
    return Draw(temperature, top_k, top_p, seed, 0, index)


def shares(logits: list[float], count: int = 4000, **settings: float) -> list[float]:
    row = torch.tensor([logits])
    found = [sample(row, [draw(index=i, **settings)])[0] for i in range(count)]  # type: ignore[arg-type]
    return [found.count(token) / count for token in range(len(logits))]


def test_greedy_takes_the_first_of_the_largest() -> None:
    assert sample(torch.tensor([[1.0, 5.0, 5.0]]), [draw(temperature=0)]) == [1]


def test_frequencies_follow_the_softmax_at_each_temperature() -> None:
    logits = [0.0, 1.0, 2.0, -1.0]
    for temperature in (0.7, 1.0, 2.0):
        expected = (torch.tensor(logits) / temperature).softmax(dim=0).tolist()
        assert shares(logits, temperature=temperature) == pytest.approx(expected, abs=0.03)


def test_top_k_keeps_the_k_largest() -> None:
    found = shares([0.0, 1.0, 2.0, 3.0], top_k=2)
    assert found[:2] == [0, 0]
    assert found[3] == pytest.approx(math.e / (1 + math.e), abs=0.03)


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    logits = [math.log(each) for each in (0.1, 0.5, 0.3, 0.1)]
    assert shares(logits, top_p=0.7) == pytest.approx([0, 0.625, 0.375, 0], abs=0.03)
    assert shares(logits, count=50, top_p=1e-9) == [0, 1, 0, 0]


def test_a_tiny_temperature_is_greedy_and_stays_finite() -> None:
    assert sample(torch.tensor([[1.0, 3.0, 2.0]]), [draw(temperature=1e-30)]) == [1]


def test_a_row_that_is_not_finite_has_no_token_and_its_neighbour_has() -> None:
    logits = torch.tensor([[1.0, torch.nan], [1.0, torch.inf], [0.0, 2.0]])
    assert sample(logits, [draw(temperature=0)] * 3) == [None, None, 1]


@pytest.mark.parametrize("settings", [{}, {"top_k": 30}, {"top_p": 0.8}])
def test_a_token_does_not_depend_on_its_place_in_the_batch(settings: dict[str, float]) -> None:
    logits = torch.randn(6, 1001, generator=torch.Generator().manual_seed(1))
    draws = [draw(seed=9, index=i, **settings) for i in range(6)]  # type: ignore[arg-type]
    together = sample(logits, draws)
    order = [3, 0, 5, 1, 4, 2]
    shuffled = sample(logits[order], [draws[i] for i in order])
    alone = [sample(logits[i : i + 1], [draws[i]])[0] for i in range(6)]
    assert together == alone
    assert shuffled == [together[i] for i in order]


def test_noise_differs_in_every_part_of_its_key() -> None:
    tokens = torch.arange(64)
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (1 << 63, 0, 0)]
    rows = torch.stack([gumbel_noise(*key, tokens) for key in keys])
    assert len({tuple(row) for row in rows.tolist()}) == len(keys)


def test_noise_of_a_token_does_not_depend_on_which_others_are_asked() -> None:
    tokens = torch.tensor([48000, 3, 77])
    everything = gumbel_noise(5, 1, 2, torch.arange(49152))
    assert torch.equal(gumbel_noise(5, 1, 2, tokens), everything[tokens])


def test_noise_is_standard_gumbel() -> None:
    noise = gumbel_noise(3, 0, 0, torch.arange(100_000))
    assert torch.isfinite(noise).all()
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.04)


def test_the_hash_is_splitmix_in_wrapping_64_bit_arithmetic() -> None:
    """The bits are a contract: a kernel on another device must give the same ones."""

    def expected(token: int) -> float:
        value = (stream_key(1, 2, 3) + token * 0x9E3779B97F4A7C15) & MASK
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
        bits = (value ^ (value >> 31)) >> 11
        return -math.log(-math.log((bits + 0.5) * 2.0**-53))

    noise = gumbel_noise(1, 2, 3, torch.arange(1000)).tolist()
    assert noise == pytest.approx([expected(token) for token in range(1000)], rel=1e-12)
