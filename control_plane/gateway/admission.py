"""From a checked request to jobs in the queue: prompt, limits, offers."""

from __future__ import annotations

import secrets
from collections.abc import Sequence as Seq

from control_plane.gateway.access import CallerIdentity
from control_plane.gateway.consumer import QueueAway, QueueFull
from control_plane.gateway.destination import Destination
from control_plane.gateway.errors import bad_request, overloaded, unavailable
from control_plane.gateway.generation import Generation
from control_plane.gateway.schemas import CompletionOptions
from control_plane.gateway.sequence import Sequence
from control_plane.gateway.services import Services
from control_plane.gateway.text_models import TextModel
from control_plane.gateway.tokenizer_messages import EncodeChat, EncodeTexts, Prompt
from control_plane.gateway.tokenizer_pool import (
    PromptUnacceptable,
    TokenizerBusy,
    TokenizerTimeout,
)
from infra.registry import ring_controller
from infra.telemetry import logger
from infra.wire import JobSpec, Route, Sampling

_log = logger(__name__)
_RETRY_FULL_S = 5.0
"""Where the queue has not been seen to drain."""
_RETRY_AWAY_S = 2.0
_SEED_MASK = (1 << 63) - 1


async def encode_prompts(
    services: Services, destination: Destination, request: EncodeChat | EncodeTexts
) -> list[Prompt]:
    """Raises ApiError: 400 where the prompt is at fault, 503 where we are."""
    try:
        return await services.tokenizers.encode(request, destination.text.assets)
    except PromptUnacceptable as error:
        raise bad_request(
            f"The prompt cannot be rendered: {error}", code="invalid_prompt"
        ) from None
    except TokenizerTimeout as error:
        raise bad_request(f"Sorry, {error}.", code="prompt_too_slow") from None
    except TokenizerBusy as error:
        raise unavailable(f"Sorry, {error}.", "tokenizer_busy", _RETRY_AWAY_S) from error


def output_limit(route: Route, prompt: Prompt, asked: int | None, default: int | None) -> int:
    """How many tokens may follow a prompt; `default` None is the rest of the context.

    Raises ApiError 400 `context_length_exceeded` with the numbers.
    """
    context, count = route.max_context_tokens, prompt.count
    if count == 0:
        raise bad_request("The prompt has no tokens; send at least one.", code="empty_prompt")
    rest = context - count
    if asked is not None and rest >= asked:
        return asked
    if asked is None and rest >= 1:
        return rest if default is None else min(default, rest)
    wanted = 1 if asked is None else asked
    at_least = "" if prompt.ids else "at least "
    raise bad_request(
        f"This model's maximum context length is {context} tokens. However, you requested "
        f"{at_least}{count + wanted} tokens ({at_least}{count} in the prompt, {wanted} for the "
        "completion). Please reduce the length of the prompt or of the completion.",
        code="context_length_exceeded",
    )


def sampling(options: CompletionOptions, text: TextModel, max_tokens: int, seed: int) -> Sampling:
    greedy = options.temperature == 0 or options.top_p == 0
    return Sampling(
        max_tokens=max_tokens,
        temperature=0.0 if greedy else options.temperature,
        top_p=1.0 if greedy else options.top_p,
        top_k=max(0, options.top_k),
        seed=seed,
        stop_token_ids=() if options.ignore_eos else text.assets.eos_token_ids,
        ignore_eos=options.ignore_eos,
    )


async def enqueue(
    services: Services,
    destination: Destination,
    options: CompletionOptions,
    prompts: Seq[tuple[Prompt, int]],
    caller: CallerIdentity,
    request_id: str,
    arrived_at_s: float,
) -> Generation:
    """Offer `options.n` jobs for each (prompt, output limit); all are taken, or none stays.

    Raises ApiError: 429 where the queue is full, 503 where it cannot be reached.
    """
    seed = secrets.randbits(63) if options.seed is None else options.seed & _SEED_MASK
    prompt_tokens = sum(prompt.count for prompt, _ in prompts)
    generation = Generation(services.consumer, prompt_tokens, destination.route.name, arrived_at_s)
    try:
        for prompt, max_tokens in prompts:
            for _ in range(options.n):
                sequence = Sequence(
                    destination.revision_id,
                    JobSpec(
                        job_id=f"job-{secrets.token_hex(12)}",
                        request_id=request_id,
                        prompt=prompt.ids,
                        sampling=sampling(options, destination.text, max_tokens, seed),
                        choice=len(generation.sequences),
                    ),
                    destination.text.detokenizer(),
                    options.stop,
                    generation.notify,
                )
                generation.sequences.append(sequence)
                await services.consumer.submit(
                    sequence,
                    caller.tenant,
                    destination.route.queue_limit_s,
                    destination.route.max_queued_jobs,
                )
    except QueueFull as error:
        generation.sequences.pop()
        generation.close()
        retry_after_s = _RETRY_FULL_S if error.retry_after_s is None else error.retry_after_s
        raise overloaded(f"Too many requests: {error}; try again later.", retry_after_s) from None
    except QueueAway as error:
        generation.close()
        raise unavailable(f"Sorry, {error}; try again.", "queue_away", _RETRY_AWAY_S) from None
    except BaseException:
        generation.close()
        raise
    if destination.route.ready_replicas == 0:
        await ring_controller(services.jobs)
    return generation
