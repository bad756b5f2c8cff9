"""Sampling follows its distribution, and its noise follows (seed, choice, index) only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from tests.worker.kernels.draws import MIXED, draw
from worker.kernels.sampling import FORBIDDEN, NOT_FINITE, NOTHING_ALLOWED, Draw, cpu, reference
from worker.kernels.sampling.noise import BLOCK_TOKENS, block_noise, gumbel_noise, stream_key

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
Choose = Callable[[Tensor, Sequence[Draw]], Tensor]


@pytest.fixture(params=[reference.choose, cpu.choose], ids=["reference", "cpu"])
def choose(request: pytest.FixtureRequest) -> Choose:
    chosen: Choose = request.param
    return chosen


def shares(
    choose: Choose, logits: list[float], count: int = 1500, **settings: float
) -> list[float]:
    rows = torch.tensor([logits]).expand(count, -1)
    found = choose(rows, [draw(index=i, **settings) for i in range(count)]).tolist()  # type: ignore[arg-type]
    return [found.count(token) / count for token in range(len(logits))]


def test_greedy_takes_the_first_of_the_largest(choose: Choose) -> None:
    assert choose(torch.tensor([[1.0, 5.0, 5.0]]), [draw(temperature=0)]).tolist() == [1]


def test_frequencies_follow_the_softmax_at_each_temperature(choose: Choose) -> None:
    logits = [0.0, 1.0, 2.0, -1.0]
    for temperature in (0.7, 1.0, 2.0):
        expected = (torch.tensor(logits) / temperature).softmax(dim=0).tolist()
        assert shares(choose, logits, temperature=temperature) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("settings", [{}, {"top_k": 150}, {"top_p": 0.95}, {"min_p": 0.02}])
def test_many_draws_pass_a_chi_squared_test(settings: dict[str, float]) -> None:
    """Over several blocks of noise; a fixed seed, so it passes or fails for ever."""
    count, vocabulary = 6000, 200
    logits = 1.5 * torch.randn(vocabulary, generator=torch.Generator().manual_seed(5))
    draws = [draw(seed=17, index=i, **settings) for i in range(count)]  # type: ignore[arg-type]
    found = cpu.choose(logits.expand(count, -1), draws)
    expected = count * kept_softmax(logits, draws[0])
    seen = torch.bincount(found, minlength=vocabulary).double()
    assert seen[expected == 0].sum() == 0
    rare = expected < 5
    seen = torch.cat([seen[~rare], seen[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None].clamp_min(1e-9)])
    statistic = float(((seen - expected) ** 2 / expected).sum())
    degrees = len(seen) - 1
    assert statistic < degrees + 4 * math.sqrt(2 * degrees), "four standard deviations"


def kept_softmax(logits: Tensor, drawn: Draw) -> Tensor:
    probabilities = logits.double().softmax(dim=0)
    order = probabilities.argsort(descending=True)
    kept = torch.zeros(len(logits), dtype=torch.bool)
    total = 0.0
    for token in order[: drawn.top_k or len(logits)].tolist():
        if total >= drawn.top_p or probabilities[token] < drawn.min_p * probabilities.max():
            break
        kept[token] = True
        total += float(probabilities[token])
    return probabilities * kept / probabilities[kept].sum()


def test_top_k_keeps_the_k_largest(choose: Choose) -> None:
    found = shares(choose, [0.0, 1.0, 2.0, 3.0], top_k=2)
    assert found[:2] == [0, 0]
    assert found[3] == pytest.approx(math.e / (1 + math.e), abs=0.05)


def test_top_p_keeps_the_smallest_set_that_reaches_p(choose: Choose) -> None:
    logits = [math.log(each) for each in (0.1, 0.5, 0.3, 0.1)]
    assert shares(choose, logits, top_p=0.7) == pytest.approx([0, 0.625, 0.375, 0], abs=0.05)
    assert shares(choose, logits, count=50, top_p=1e-9) == [0, 1, 0, 0]


def test_min_p_drops_what_is_less_likely_than_its_share_of_the_likeliest(choose: Choose) -> None:
    logits = [math.log(each) for each in (0.1, 0.5, 0.3, 0.1)]
    assert shares(choose, logits, min_p=0.5) == pytest.approx([0, 0.625, 0.375, 0], abs=0.05)


def test_a_tiny_temperature_is_greedy_and_stays_finite(choose: Choose) -> None:
    assert choose(torch.tensor([[1.0, 3.0, 2.0]]), [draw(temperature=1e-30)]).tolist() == [1]


def test_a_row_that_is_not_finite_has_no_token_and_its_neighbour_has(choose: Choose) -> None:
    logits = torch.tensor([[1.0, torch.nan], [1.0, torch.inf], [-torch.inf, 1.0], [0.0, 2.0]])
    for settings in ({"temperature": 0.0}, {"temperature": 0.01}, {"top_k": 1}):
        found = choose(logits, [draw(**settings)] * 4).tolist()  # type: ignore[arg-type]
        assert found == [NOT_FINITE, NOT_FINITE, NOT_FINITE, 1]


@pytest.mark.parametrize("settings", MIXED)
def test_a_forbidden_token_is_never_chosen(choose: Choose, settings: Draw) -> None:
    logits = torch.full((3, 200), FORBIDDEN)
    logits[0, 170] = -1e9
    logits[1, [3, 199]] = torch.tensor([-5.0, 5.0])
    found = choose(logits, [settings] * 3).tolist()
    assert found[0] == 170
    assert found[1] in (3, 199)
    assert found[2] == NOTHING_ALLOWED


@pytest.mark.parametrize("vocabulary", [1, 63, 64, 65, 9000])
@pytest.mark.parametrize("spread", [0.05, 2.0, 8.0])
def test_the_fast_way_chooses_what_the_reference_chooses(vocabulary: int, spread: float) -> None:
    logits = torch.randn(
        2 * len(MIXED), vocabulary, generator=torch.Generator().manual_seed(vocabulary)
    )
    logits[1::4] = (spread * logits[1::4]).round()  # ties, as bf16 heads have them
    logits *= spread
    draws = [*MIXED, *MIXED[1:], MIXED[0]]
    assert cpu.choose(logits, draws).tolist() == reference.choose(logits, draws).tolist()


def test_a_token_does_not_depend_on_its_place_in_the_batch(choose: Choose) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(len(MIXED), 1001, generator=generator)
    together = choose(logits, MIXED).tolist()
    order = torch.randperm(len(MIXED), generator=generator).tolist()
    shuffled = choose(logits[order], [MIXED[i] for i in order]).tolist()
    alone = [choose(logits[i : i + 1], [each]).item() for i, each in enumerate(MIXED)]
    assert together == alone
    assert shuffled == [together[i] for i in order]


def test_no_rows_have_no_tokens(choose: Choose) -> None:
    assert choose(torch.zeros(0, 10), []).tolist() == []


def noise_of(seed: int, choice: int, index: int, token_ids: Tensor) -> Tensor:
    return gumbel_noise(torch.tensor(stream_key(seed, choice, index)), token_ids)


def test_noise_differs_in_every_part_of_its_key() -> None:
    tokens = torch.arange(64)
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (1 << 63, 0, 0)]
    rows = torch.stack([noise_of(*key, tokens) for key in keys])
    assert len({tuple(row) for row in rows.tolist()}) == len(keys)


def test_noise_of_a_token_does_not_depend_on_which_others_are_asked() -> None:
    tokens = torch.tensor([48000, 3, 77])
    everything = noise_of(5, 1, 2, torch.arange(49152))
    assert torch.equal(noise_of(5, 1, 2, tokens), everything[tokens])


def test_noise_is_standard_gumbel() -> None:
    noise = noise_of(3, 0, 0, torch.arange(128_000))
    assert torch.isfinite(noise).all()
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.04)
    # Kolmogorov-Smirnov, at one in a thousand.
    cumulative = torch.exp(-torch.exp(-noise)).sort().values
    distance = (cumulative - torch.linspace(0, 1, len(noise), dtype=torch.float64)).abs().max()
    assert distance.item() < 1.95 / math.sqrt(len(noise))


def test_tokens_of_one_block_are_independent() -> None:
    """Their noise comes from a common hash: no pair of places may be correlated."""
    keys = torch.arange(4000) * 0x1234567 + 99
    noise = gumbel_noise(keys[:, None], torch.arange(BLOCK_TOKENS))
    correlation = torch.corrcoef(noise.T) - torch.eye(BLOCK_TOKENS, dtype=torch.float64)
    assert correlation.abs().max().item() < 5 / math.sqrt(len(keys))


def test_a_blocks_largest_noise_is_known_without_its_tokens() -> None:
    keys = torch.arange(50)
    noise = gumbel_noise(keys[:, None], torch.arange(BLOCK_TOKENS, 2 * BLOCK_TOKENS))
    least, place = block_noise(keys, torch.tensor(1))
    assert torch.equal(noise.max(dim=-1).values, -least.log())
    assert torch.equal(noise.argmax(dim=-1), place)


def test_the_hash_is_splitmix_in_wrapping_64_bit_arithmetic() -> None:
    """The bits are a contract: a kernel on another device must give the same ones."""

    def bits(counter: int) -> int:
        value = (stream_key(1, 2, 3) + counter * GOLDEN) & MASK
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
        return value ^ (value >> 31)

    def exponential(hashed: int) -> float:
        return -math.log(((hashed >> 11) + 0.5) * 2.0**-53)

    def expected(token: int) -> float:
        block = bits((1 << 40) + token // 64)
        more = 0.0 if token % 64 == block % 64 else exponential(bits(token))
        return -math.log(exponential(block) / 64 + more)

    noise = noise_of(1, 2, 3, torch.arange(1000)).tolist()
    assert noise == pytest.approx([expected(token) for token in range(1000)], rel=1e-12)
