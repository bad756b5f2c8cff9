"""What crosses a process boundary: versioned msgspec structs, encoded as MessagePack.

A field is only ever added, with a default, and never changes its meaning: so a process of wire
version N reads what N-1 wrote (defaults fill the gaps) and N-1 reads what N wrote (unknown fields
are skipped). `WIRE_VERSION` rises with every addition; each side announces its own.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from infra.states import ReplicaState

WIRE_VERSION = 7

T = TypeVar("T")


class Malformed(ValueError):
    """Bytes from another process that are not the message they should be."""


def encode(message: msgspec.Struct) -> bytes:
    return msgspec.msgpack.encode(message)


def decode(body: bytes, kind: type[T]) -> T:
    """Read one message.

    Raises:
        Malformed: the bytes are not a `kind`.
    """
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Malformed(f"{kind.__name__}: {error}") from error


# --- jobs: consumer -> queue -> worker -------------------------------------------------------


class GrammarKind(StrEnum):
    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    """Any JSON object; the text is empty."""
    REGEX = "regex"
    LARK = "lark"
    """A context-free grammar in llguidance's variant of Lark."""


class Grammar(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an output must match, from its first token to its end."""

    kind: GrammarKind
    text: str = ""


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to choose tokens. Noise depends on (seed, choice, index) and on nothing else."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps the whole vocabulary."""
    seed: int = 0
    stop_token_ids: tuple[int, ...] = ()
    """Token ids that end the sequence; they are not part of the output."""
    ignore_eos: bool = False
    min_p: float = 0.0
    """Tokens less likely than this share of the likeliest one are dropped; 0 keeps all."""
    presence_penalty: float = 0.0
    """Taken off the logits of tokens that are in the output (OpenAI)."""
    frequency_penalty: float = 0.0
    """Taken off a token's logit for each time it is in the output (OpenAI)."""
    repetition_penalty: float = 1.0
    """Divides the positive and multiplies the negative logits of tokens that are in the prompt or
    the output (CTRL; Keskar et al., 2019)."""
    logit_bias: dict[int, float] = {}
    """Added to the logits of token ids."""
    min_tokens: int = 0
    """No stop token is sampled before the output has this many."""
    logprobs: int = -1
    """How many of the likeliest tokens are told with each output token; -1 tells no logprobs."""
    prompt_logprobs: int = -1
    """The same for the tokens of the prompt."""
    grammar: Grammar | None = None


class JobSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One sequence of a request, as a worker needs it."""

    job_id: str
    request_id: str
    prompt: list[int]
    sampling: Sampling
    choice: int = 0
    delivered: list[int] = []
    """Output tokens that the client already has: the next attempt continues after them."""
    traceparent: str = ""
    """W3C Trace Context of the request, for the spans of whoever runs it; empty: not traced."""
    cache_salt: str = ""
    """Jobs share cached prefixes with jobs of the same salt only."""
    priority: int = 0
    """Among the jobs of one replica, smaller goes first and is preempted last."""


class FinishReason(StrEnum):
    STOP = "stop"
    """An end-of-sequence or stop token was sampled."""
    LENGTH = "length"
    """`max_tokens` or the context limit was reached."""
    ERROR = "error"
    """This job cannot be run; `TokenEvent.error` says why. Retrying would not help."""
    RELEASED = "released"
    """The replica gave the job back (drain, shutdown): its consumer should offer it again."""


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """Natural logarithms of probabilities, of the model's own distribution (before penalties,
    temperature and truncation)."""

    logprob: float
    top: list[tuple[int, float]] = []
    """The likeliest token ids and theirs, the likeliest first."""
    rank: int = 0
    """Of the token itself among all, from 1; 0: not told."""


class TokenEvent(msgspec.Struct, frozen=True, array_like=True):
    """New output tokens of one attempt. A consumer takes only its current attempt, next index."""

    job_id: str
    attempt: int
    index: int
    """Position of `tokens[0]` in the output of the job, counted from 0 over all attempts."""
    tokens: list[int]
    finish: FinishReason | None = None
    error: str = ""
    logprobs: list[TokenLogprob] = []
    """One for each of `tokens`, where the job asked for them."""
    prompt_logprobs: list[TokenLogprob | None] = []
    """With the first token, where the job asked for them: one for each token of the prompt; the
    first, which nothing comes before, has none."""


class StepTokens(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything one engine step produced for the jobs of one consumer."""

    replica_id: str
    events: list[TokenEvent]


# --- durable requests: gateway -> log -> whichever gateway is asked ---------------------------


class ShownLogprob(msgspec.Struct, frozen=True, array_like=True):
    """A token's log-probability as its client sees it, who knows no token ids."""

    token: str
    raw: bytes
    """Its bytes, which may be half a character."""
    logprob: float | None
    """None where nothing comes before the token."""
    top: list[tuple[str, bytes, float]] = []
    """The likeliest tokens, the likeliest first."""
    offset: int = 0
    """Characters of the answer before this token."""


class OfferedTools(msgspec.Struct, frozen=True, omit_defaults=True):
    """The functions that a model may call, as far as its answer must be read for calls."""

    family: str
    """How it writes calls: a name of `control_plane.gateway.tools.families`."""
    names: tuple[str, ...]
    parallel: bool = True
    """Whether there may be more than one call in an answer."""


class DurableRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request that outlives its gateway: all that another one needs to go on with it."""

    request_id: str
    """As its client knows it: the id of the completion."""
    tenant: str
    endpoint: str
    """"chat" or "text": the shape of the answer."""
    model: str
    """Name of the deployment."""
    revision_id: str
    text_digest: str
    created_at: int
    """Epoch seconds."""
    choices: int
    prompt_tokens: int
    queue_limit_s: float
    max_queued_jobs: int
    stops: tuple[str, ...] = ()
    include_stop: bool = False
    """Whether the stop string that was met is shown."""
    special_tokens: bool = False
    """Whether special tokens are shown."""
    echo: bool = False
    """Whether the prompt is shown before the output."""
    logprobs: bool = False
    """Whether log-probabilities are shown."""
    include_usage: bool = False
    jobs: list[JobSpec] = []
    """One a choice; empty once the request has ended well (prompts are not kept)."""
    idempotency_key: str = ""
    """Names the entry that leads from the client's key to this request."""
    tools: OfferedTools | None = None


class LogEntry(msgspec.Struct, frozen=True, array_like=True):
    """A piece of one choice, or its end. The pieces of a choice hold all its tokens in order."""

    choice: int
    tokens: list[int] = []
    text: str = ""
    """What these tokens show of the answer; often nothing."""
    outcome: str = ""
    """A final `states.JobState`; empty for a piece."""
    finish: str = ""
    """"stop" or "length" where the choice was completed."""
    reason: str = ""
    retry_helps: bool = False
    output_tokens: int = 0
    """Of the whole choice, as usage counts them; with `outcome`."""
    logprobs: list[TokenLogprob] = []
    """Of `tokens`, for whoever goes on with the request."""
    shown: list[ShownLogprob] = []
    """What is shown of log-probabilities with `text`."""


# --- workers: agent <-> control plane --------------------------------------------------------


class ReplicaSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an agent must run in one of its device slots."""

    replica_id: str
    revision_id: str
    """Names the job queue."""
    model_uri: str
    """Where the registered model lies, e.g. `file:///...`."""
    engine: str = "torch"
    """Name of an entry point in the group `tamer.engines`."""
    options: dict[str, Any] = {}
    """Engine options: dtype, max_context_tokens, exact ..., checked by the engine itself."""
    draining: bool = False
    """Finish or hand back what runs, then stop."""
    asleep: bool = False
    """Finish what runs, then keep the weights in host memory, free the rest, and take no jobs."""
    wakes: int = 0
    """How often it was told to wake up: names the start that `StartReport` speaks of."""
    weights_key: str = ""
    """The right to read this model's weights from other workers (`infra.peer_access`), and to serve
    them to those; empty: neither."""


class Assignment(msgspec.Struct, frozen=True, omit_defaults=True):
    """The absolute desired state of one instance; the highest version wins."""

    instance_id: str
    version: int
    replicas: list[ReplicaSpec] = []
    leave: bool = False
    """Drain everything and exit."""
    standby: str = ""
    """An engine of which a process with its imports done shall wait here, unless the owner of the
    machine forbids it; empty: the machine's own setting decides."""


class StartReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an agent measured of one start of a replica: durations by its own monotonic clock."""

    wakes: int = 0
    """As `ReplicaSpec.wakes`: 0 is the start from nothing."""
    phases_s: dict[str, float] = {}
    """`infra.starts.Phase` -> seconds, of those phases that have ended. They do not overlap."""
    tier: str = ""
    """The furthest place that bytes came from: memory, disk, peer or store."""
    bytes_by_tier: dict[str, int] = {}
    standby: bool = False
    """Whether its process had waited with its imports done."""


class StepSample(msgspec.Struct, frozen=True, array_like=True):
    """One step of an engine: what it held, and how long it took."""

    sequences: int
    """That decoded a token."""
    context_tokens: int
    """Of all of these."""
    chunk_tokens: int
    """Of a prompt, that were read in it."""
    before_tokens: int
    """Of that prompt, in the cache already."""
    seconds: float


class ReplicaReport(msgspec.Struct, frozen=True, omit_defaults=True):
    replica_id: str
    state: ReplicaState
    reason: str = ""
    running: int = 0
    waiting: int = 0
    kv_tokens_used: int = 0
    kv_tokens_total: int = 0
    output_tokens: int = 0
    """Since the replica started, like all that follow."""
    prefix_queried_tokens: int = 0
    prefix_hit_tokens: int = 0
    preemptions: int = 0
    memory_bytes: int = 0
    """Host memory that its process holds (resident set)."""
    start: StartReport | None = None
    steps: list[StepSample] = []
    """Some of those since the last heartbeat: decodes alone, or a part of one prompt alone."""


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an agent says of itself, about once a second."""

    instance_id: str
    wire_version: int
    build: str
    sequence: int
    assignment_version: int
    replicas: list[ReplicaReport] = []
    leaving: bool = False
    standbys: int = 0
    """Processes that wait with their imports done."""
    standby_bytes: int = 0
    """Host memory that they hold."""


class JoinRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Agent -> API, as JSON over HTTP: proves with a one-time token that it may serve."""

    token: str
    wire_version: int
    build: str
    hostname: str
    devices: list[str] = []
    memory_bytes: int = 0
    cpu_count: int = 0
    nonce: str = ""
    """Random, made once by the agent: with it, and only with it, a join whose answer was lost may
    be sent again. Empty: the token works once."""
    credential: str = ""
    """A secret that a machine of its owner's made for itself: the token lets it in, once, and from
    then on the credential alone does. Empty: an instance that a cloud has launched."""
    name: str = ""
    """What such a machine wants to be called."""


class JoinGrant(msgspec.Struct, frozen=True, omit_defaults=True):
    instance_id: str
    jobs_url: str
    tokens_url: str
    wire_version: int
    heartbeat_s: float
    lease_s: float


# --- gateways: controller -> gateway ---------------------------------------------------------


class KeyEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    key_id: str
    hash: str
    """`infra.keys.hash_secret` of the whole key."""
    tenant: str
    scopes: tuple[str, ...]
    over_budget: str = ""
    """Why its tenant may ask for nothing now: its budget is spent; empty while it may."""
    over_budget_s: float = 0.0
    """For how long, about."""


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """One revision behind a deployment and its share of the traffic."""

    revision_id: str
    weight: int = 100
    text_digest: str = ""
    """Names the `TextAssets` of its model; empty: the route's, like what follows."""
    max_context_tokens: int = 0
    vocabulary_size: int = 0


class Route(msgspec.Struct, frozen=True, omit_defaults=True):
    """A deployment, as a gateway needs it."""

    deployment_id: str
    name: str
    created_at: int
    """Epoch seconds."""
    targets: list[Target]
    text_digest: str
    """Names the `TextAssets` of the model."""
    max_context_tokens: int
    vocabulary_size: int
    max_queued_jobs: int = 1000
    queue_limit_s: float = 600.0
    """How long a job may wait for a replica, a cold start included, before it expires."""
    ready_replicas: int = 0
    boot_s: float = 0.0
    """While none is ready: what a replica has lately taken to start; 0: nobody knows."""
    boot_p90_s: float = 0.0
    """While none is ready: what nine starts of ten stay below."""
    ttft_limit_s: float = 0.0
    """What the owner wants the time to the first token to stay below; 0: nothing was said."""
    tpot_limit_s: float = 0.0
    """The same of the time per output token."""
    unavailable: str = ""
    """Why nothing can serve this deployment now (failed, deleting); empty where it can."""
    over_budget: str = ""
    """Why no replica serves or will: its budget is spent; empty where one may."""
    over_budget_s: float = 0.0
    """For how long, about."""


class Projection(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that a gateway knows; published whole by the controller, never compared by clock."""

    version: int
    routes: list[Route] = []
    keys: list[KeyEntry] = []


class TextAssets(msgspec.Struct, frozen=True, omit_defaults=True):
    """The text side of a model: what turns messages into token ids and back."""

    tokenizer_json: str
    """The `tokenizers` library's own serialisation."""
    chat_template: str = ""
    """Jinja source; empty where the model has none."""
    bos_token: str = ""
    eos_token: str = ""
    eos_token_ids: tuple[int, ...] = ()
    add_bos: bool = False
    """Whether a plain completion prompt starts with the BOS token."""
