"""From a checked request to the jobs that it needs: prompt, limits, seeds."""

from __future__ import annotations

import secrets
from collections.abc import Sequence as Seq

from control_plane.gateway.destination import Destination
from control_plane.gateway.errors import bad_request, unavailable
from control_plane.gateway.output_grammar import output_grammar
from control_plane.gateway.schemas import CompletionOptions
from control_plane.gateway.services import Services
from control_plane.gateway.text_models import TextModel
from control_plane.gateway.tokenizer_messages import EncodeChat, EncodeTexts, Prompt
from control_plane.gateway.tokenizer_pool import (
    PromptUnacceptable,
    TokenizerBusy,
    TokenizerTimeout,
)
from infra.tracing.span import span, traceparent
from infra.wire import JobSpec, Route, Sampling

_RETRY_AWAY_S = 2.0
_SEED_MASK = (1 << 63) - 1
NOT_TOLD = -1


async def encode_prompts(
    services: Services, destination: Destination, request: EncodeChat | EncodeTexts
) -> list[Prompt]:
    """Raises ApiError: 400 where the prompt is at fault, 503 where we are."""
    try:
        with span("tokenise"):
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
    """Raises ApiError 400 where the options contradict the output limit."""
    if options.min_tokens > max_tokens:
        raise bad_request(
            f"Invalid value for 'min_tokens': at most {max_tokens} tokens may follow this prompt.",
            "min_tokens",
            "invalid_value",
        )
    ends = () if options.ignore_eos else text.assets.eos_token_ids
    told = options.told_logprobs
    greedy = options.temperature == 0 or options.top_p == 0
    return Sampling(
        max_tokens=max_tokens,
        temperature=0.0 if greedy else options.temperature,
        top_p=1.0 if greedy else options.top_p,
        top_k=max(0, options.top_k),
        seed=seed,
        stop_token_ids=(*ends, *options.stop_token_ids),
        ignore_eos=options.ignore_eos,
        min_p=options.min_p,
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        repetition_penalty=options.repetition_penalty,
        logit_bias=options.logit_bias,
        min_tokens=options.min_tokens,
        logprobs=told if told is not None else 0 if options.ranks else NOT_TOLD,
        prompt_logprobs=options.told_prompt_logprobs,
        grammar=output_grammar(options, text),
    )


def check_token_ids(options: CompletionOptions, route: Route) -> None:
    """Raises ApiError 400 for the id of a token that the model does not have."""
    given = {"logit_bias": options.logit_bias, "stop_token_ids": options.stop_token_ids}
    for param, token_ids in given.items():
        highest = max(token_ids, default=0)
        if highest >= route.vocabulary_size:
            raise bad_request(
                f"Invalid value for '{param}': token ids must be below {route.vocabulary_size}, "
                f"not {highest}.",
                param,
                "invalid_value",
            )


def job_specs(
    destination: Destination,
    options: CompletionOptions,
    prompts: Seq[tuple[Prompt, int]],
    request_id: str,
    job_prefix: str,
    tenant: str,
) -> list[JobSpec]:
    """`options.sequences` jobs for each (prompt, output limit), numbered as the client numbers
    choices. Raises ApiError 400 where the options do not fit the model or the limits.

    Only jobs of one tenant share cached prefixes: how fast an answer comes must not tell anybody
    what others have asked.
    """
    check_token_ids(options, destination.route)
    seed = secrets.randbits(63) if options.seed is None else options.seed & _SEED_MASK
    parent = traceparent()
    each_choice = [pair for pair in prompts for _ in range(options.sequences)]
    return [
        JobSpec(
            job_id=f"{job_prefix}.{choice}",
            request_id=request_id,
            prompt=prompt.ids,
            sampling=sampling(options, destination.text, max_tokens, seed),
            choice=choice,
            traceparent=parent,
            cache_salt=tenant,
        )
        for choice, (prompt, max_tokens) in enumerate(each_choice)
    ]
