"""Natural logarithms of probabilities: log_softmax of a model's own logits."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Likelihoods(NamedTuple):
    of_tokens: Tensor
    """[rows] fp32."""
    top: Tensor
    """[rows, count] fp32, the largest first."""
    top_tokens: Tensor
    """[rows, count] int64, theirs."""
    ranks: Tensor
    """[rows] int64: where the token stands among all, from 1; equals share the best place."""


def likelihoods(logits: Tensor, tokens: Tensor, count: int) -> Likelihoods:
    """Log-probabilities of one token a row, and of the likeliest ones.

    Args:
        logits: [rows, vocabulary] fp32, unchanged since the model.
        tokens: [rows] int64; a negative one stands for none, and what is said of it means nothing.
        count: how many of the likeliest are told.
    """
    total = logits.logsumexp(dim=-1)
    chosen = logits.gather(1, tokens.clamp_min(0)[:, None])[:, 0]
    top, top_tokens = logits.topk(min(count, logits.shape[1]), dim=-1)
    ranks = (logits > chosen[:, None]).sum(dim=-1) + 1
    return Likelihoods(chosen - total, top - total[:, None], top_tokens, ranks)
