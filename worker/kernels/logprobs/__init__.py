"""How likely the model found tokens: torch's own operations are enough on every device."""

from worker.kernels.logprobs.reference import Likelihoods, likelihoods

__all__ = ["Likelihoods", "likelihoods"]
