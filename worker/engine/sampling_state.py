"""What one sequence needs so that its tokens can be chosen."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from infra.wire import JobSpec
from worker.engine.logprobs import NOT_TOLD, PromptLogprobs
from worker.kernels.penalties import Penalty
from worker.kernels.sampling import LEAST_TEMPERATURE, Draw
from worker.kernels.upload import upload
from worker.scheduling.plan import Slice
from worker.scheduling.sequence import Sequence


class History:
    """How often a sequence has said each token, where the logits are.

    It is used in the order in which steps sample: in a thread of its own, where there is one.
    """

    def __init__(self, vocabulary: int, device: torch.device) -> None:
        self.counts = torch.zeros(vocabulary, dtype=torch.int32, device=device)
        """[vocabulary]: of the output."""
        self.in_prompt = torch.zeros(vocabulary, dtype=torch.bool, device=device)
        """[vocabulary]."""

    def count(self, prompt: list[int], output: list[int]) -> None:
        """Begin anew with these tokens."""
        device = self.counts.device
        self.in_prompt.zero_().index_fill_(0, upload(prompt, torch.int64, device), True)
        said = upload(output, torch.int64, device)
        self.counts.zero_().index_add_(0, said, torch.ones_like(said, dtype=torch.int32))


class SamplingState:
    """Made when a sequence arrives; asked for draws and histories in the order of plans."""

    def __init__(
        self, sequence: Sequence, job: JobSpec, vocabulary: int, device: torch.device
    ) -> None:
        sampling = job.sampling
        self.sequence_id = sequence.sequence_id
        self.logprobs = sampling.logprobs
        """How many likeliest tokens are told with each; -1: nothing is told."""
        self.min_tokens = sampling.min_tokens
        self.prompt = None
        if tells_prompt_logprobs(job):
            self.prompt = PromptLogprobs(sampling.prompt_logprobs)
        self.bias = _pairs(sampling.logit_bias, device) if sampling.logit_bias else None
        """Token ids [n] int64 and what is added to their logits [n] fp32."""
        self.stop_tokens = upload(sorted(sequence.stop_tokens), torch.int64, device)
        self.penalty = Penalty(
            sampling.repetition_penalty, sampling.frequency_penalty, sampling.presence_penalty
        )
        self.history: History | None = None
        """Where there is a penalty, from the first step on: who waits takes no memory for it."""
        self._new_history = partial(History, vocabulary, device)
        self._sequence = sequence
        self._job = job
        self._counted = (-1, -1)
        """Epoch, and the index that the next token has if the history is to be right."""

    def draw(self, part: Slice) -> Draw:
        """How to choose the token that a slice gives."""
        sampling = self._job.sampling
        warm = sampling.temperature >= LEAST_TEMPERATURE
        return Draw(
            temperature=sampling.temperature if warm else 0.0,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            seed=sampling.seed,
            choice=self._job.choice,
            index=output_index(part),
            min_p=sampling.min_p,
        )

    def renewed_history(self, part: Slice) -> tuple[list[int], list[int]] | None:
        """The prompt and the output that a slice's token comes after; None where that is what the
        history holds once every plan before has run.

        It is not at the beginning, and after tokens that were guessed wrongly; none is awaited
        then.
        """
        if self.penalty == Penalty(1.0, 0.0, 0.0):
            return None
        if self.history is None:
            self.history = self._new_history()
        here = (part.epoch, output_index(part))
        expected, self._counted = self._counted, (part.epoch, here[1] + 1)
        if here == expected:
            return None
        sequence = self._sequence
        output = sequence.tokens[sequence.prompt_tokens : part.start + part.count]
        return sequence.tokens[: sequence.prompt_tokens], output


def tells_prompt_logprobs(job: JobSpec) -> bool:
    """They come with the first token: who has that one has them."""
    return job.sampling.prompt_logprobs > NOT_TOLD and not job.delivered


def output_index(part: Slice) -> int:
    """The place in the output of the token that a slice gives. By position, not by what the
    sequence holds: the token before it may be awaited."""
    return part.start + part.count - part.sequence.prompt_tokens


def _pairs(bias: dict[int, float], device: torch.device) -> tuple[Tensor, Tensor]:
    tokens = upload(list(bias), torch.int64, device)
    return tokens, upload(list(bias.values()), torch.float32, device)
