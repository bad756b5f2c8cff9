"""A step-time model that follows what replicas measure: least squares with exponential forgetting.

Fitted are dimensionless weights of the prior's terms, 1 at first, on relative errors: a step of
5 ms counts as much as one of 500. What was never measured (a batch size that never ran) keeps the
prior's shape, scaled by what was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from infra.performance.step_time import StepTime

_FORGETTING = 0.995
"""Of each observation: the last 200 or so count."""
_PRIOR_VARIANCE = 0.1
_VARIANCE_LIMIT = 1.0
"""Of what was not observed for long: the prior is never forgotten altogether."""
_NOISE_VARIANCE = 0.01
_WEIGHT_LIMITS = (0.1, 10.0)
_ABSURD = 10.0
"""A step this many times faster or slower than expected was something else: a pause, a sleep."""
_INSISTENT = 20
"""So many of them in a row are what the device does, and the prior is of another one."""


class Correction:
    """Of one (model, device, quantization, parallelism)."""

    def __init__(self, prior: StepTime) -> None:
        self._prior = prior
        self._decode = _Weights()
        self._prefill = _Weights()

    def over(self, prior: StepTime) -> Correction:
        """Begins with what this one has learned, of another model on the same device; this one is
        not to be taught any more."""
        other = Correction(prior)
        other._decode, other._prefill = self._decode, self._prefill
        return other

    @property
    def observations(self) -> int:
        return self._decode.observations + self._prefill.observations

    @property
    def time(self) -> StepTime:
        """The prior, corrected."""
        prior, decode, prefill = self._prior, self._decode.factors, self._prefill.factors
        return replace(
            prior,
            decode_s=prior.decode_s * decode[0],
            decode_s_per_sequence=prior.decode_s_per_sequence * decode[1],
            decode_s_per_context_token=prior.decode_s_per_context_token * decode[2],
            prefill_s=prior.prefill_s * prefill[0],
            prefill_s_per_token=prior.prefill_s_per_token * prefill[1],
            prefill_s_per_token2=prior.prefill_s_per_token2 * prefill[2],
        )

    def see_decode(self, sequences: int, context_tokens: int, seconds: float) -> None:
        """A step of decodes alone took so long. What cannot be is ignored."""
        prior = self._prior
        if sequences > 0:
            terms = (
                prior.decode_s,
                prior.decode_s_per_sequence * sequences,
                prior.decode_s_per_context_token * context_tokens,
            )
            self._decode.see(terms, seconds)

    def see_prefill(self, tokens: int, before: int, seconds: float) -> None:
        """A step with a chunk of one prompt and nothing else took so long."""
        prior = self._prior
        if tokens > 0:
            pairs = (before + tokens) ** 2 - before**2
            terms = (
                prior.prefill_s,
                prior.prefill_s_per_token * tokens,
                prior.prefill_s_per_token2 * pairs,
            )
            self._prefill.see(terms, seconds)


class _Weights:
    """Three weights, of all that was seen and is not forgotten: the normal equations of their least
    squares. Forgetting leads back to the prior, never to nothing: what is not observed for hours
    neither drifts nor grows without bound."""

    def __init__(self) -> None:
        self.observations = 0
        self._refused: list[float] = []
        """How many times slower than the prior the last steps were, as long as each is absurd."""
        self._begin(1.0)

    def _begin(self, scale: float) -> None:
        self._scale = scale
        """Of the prior, to what the weights are of."""
        self._values = [1.0, 1.0, 1.0]
        first = 1 / _PRIOR_VARIANCE
        self._information = [[first, 0.0, 0.0], [0.0, first, 0.0], [0.0, 0.0, first]]
        self._evidence = [first] * 3

    @property
    def factors(self) -> list[float]:
        """Of the prior's terms."""
        return [self._scale * value for value in self._values]

    def see(self, terms: Sequence[float], seconds: float) -> None:
        if not (math.isfinite(seconds) and seconds > 0):
            return
        times = seconds / _dot(terms, self.factors)
        if 1 / _ABSURD < times < _ABSURD:
            self._refused.clear()
            self._learn(terms, seconds)
            return
        self._refused.append(seconds / sum(terms))
        if len(self._refused) >= _INSISTENT:
            self._begin(median(self._refused))
            self._refused.clear()

    def _learn(self, terms: Sequence[float], seconds: float) -> None:
        self.observations += 1
        # All over the measured time, so that what is fitted is 1 and errors are relative.
        shares = [self._scale * term / seconds for term in terms]
        kept, least = _FORGETTING, (1 - _FORGETTING) / _VARIANCE_LIMIT
        for row, share in enumerate(shares):
            for column, other in enumerate(shares):
                prior = least if row == column else 0.0
                value = kept * self._information[row][column] + prior
                self._information[row][column] = value + share * other / _NOISE_VARIANCE
            self._evidence[row] = kept * self._evidence[row] + least + share / _NOISE_VARIANCE
        low, high = _WEIGHT_LIMITS
        solved = _solve(self._information, self._evidence)
        self._values = [min(max(value, low), high) for value in solved]


def _solve(rows: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """By Cramer's rule; the matrix is symmetric, and positive definite."""
    first, second, third = rows
    inverse = (_cross(second, third), _cross(third, first), _cross(first, second))
    determinant = _dot(first, inverse[0])
    return [_dot(row, right) / determinant for row in inverse]


def _cross(left: Sequence[float], right: Sequence[float]) -> tuple[float, float, float]:
    return (
        left[1] * right[2] - left[2] * right[1],
        left[2] * right[0] - left[0] * right[2],
        left[0] * right[1] - left[1] * right[0],
    )


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))
