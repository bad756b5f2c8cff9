"""A step-time model that follows what replicas measure: recursive least squares with forgetting.

Fitted are dimensionless weights of the prior's terms, 1 at first, on relative errors: a step of
5 ms counts as much as one of 500. What was never measured (a batch size that never ran) keeps the
prior's shape, scaled by what was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from infra.performance.step_time import StepTime

_FORGETTING = 0.995
"""Of each observation: the last 200 or so count."""
_PRIOR_VARIANCE = 0.1
_NOISE_VARIANCE = 0.01
_VARIANCE_LIMIT = 1.0
"""Forgetting must not grow what is never observed without bound."""
_WEIGHT_LIMITS = (0.1, 10.0)
_ABSURD = 20.0
"""A step this many times faster or slower than expected was something else: a pause, a sleep."""


class Correction:
    """Of one (model, device, quantization, parallelism)."""

    def __init__(self, prior: StepTime) -> None:
        self._prior = prior
        self._decode = _Weights()
        self._prefill = _Weights()

    @property
    def observations(self) -> int:
        return self._decode.observations + self._prefill.observations

    @property
    def time(self) -> StepTime:
        """The prior, corrected."""
        prior, decode, prefill = self._prior, self._decode.values, self._prefill.values
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
    """Three weights and how sure they are."""

    def __init__(self) -> None:
        self.values = [1.0, 1.0, 1.0]
        self.observations = 0
        self._covariance = [
            [_PRIOR_VARIANCE if row == column else 0.0 for column in range(3)] for row in range(3)
        ]

    def see(self, terms: Sequence[float], seconds: float) -> None:
        expected = _dot(terms, self.values)
        if not (math.isfinite(seconds) and expected / _ABSURD < seconds < expected * _ABSURD):
            return
        self.observations += 1
        # All over the measured time, so that what is fitted is 1 and errors are relative.
        shares = [term / seconds for term in terms]
        spread = [_dot(row, shares) for row in self._covariance]
        gain = [each / (_NOISE_VARIANCE + _dot(shares, spread)) for each in spread]
        error = 1.0 - _dot(shares, self.values)
        low, high = _WEIGHT_LIMITS
        self.values = [
            min(max(value + each * error, low), high)
            for value, each in zip(self.values, gain, strict=True)
        ]
        self._covariance = [
            [
                _bounded(self._covariance[row][column] - gain[row] * spread[column], row, column)
                for column in range(3)
            ]
            for row in range(3)
        ]


def _bounded(value: float, row: int, column: int) -> float:
    grown = value / _FORGETTING
    return min(grown, _VARIANCE_LIMIT) if row == column else grown


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))
