"""What an agent and its engine process say to each other: frames of MessagePack over a socket.

A frame is a 4-byte little-endian length and the body. The first frame to the engine is its
`EngineSpec` (a standby says `StandingBy` when it can use one); after that the unions below, one
message a frame.
"""

from __future__ import annotations

import msgspec

from infra.wire import JobSpec, StepSample, TokenEvent


class Submit(msgspec.Struct, frozen=True, tag=True):
    job: JobSpec
    attempt: int


class Cancel(msgspec.Struct, frozen=True, tag=True):
    job_id: str


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """Stop at once; whatever still runs is the agent's to give back."""


class Sleep(msgspec.Struct, frozen=True, tag=True):
    """Keep the weights in host memory and free the rest; nothing runs now."""


class Wake(msgspec.Struct, frozen=True, tag=True):
    """Make ready what `Sleep` freed, and say `Ready`."""


ToEngine = Submit | Cancel | Sleep | Wake | Shutdown


class Stats(msgspec.Struct, frozen=True, array_like=True):
    running: int = 0
    waiting: int = 0
    kv_tokens_used: int = 0
    kv_tokens_total: int = 0
    max_running: int = 0
    steps: int = 0
    output_tokens: int = 0
    prefix_queried_tokens: int = 0
    """Positions of sequences when they started, as far as they might have been cached."""
    prefix_hit_tokens: int = 0
    """How many of these were."""
    preemptions: int = 0
    sampled_step: StepSample | None = None
    """The newest of some that were measured."""
    sampled_steps: int = 0
    """How many were, so far."""


class StandingBy(msgspec.Struct, frozen=True, tag=True):
    """The process has its imports done and waits for its `EngineSpec`."""


class Loading(msgspec.Struct, frozen=True, tag=True):
    phase: str
    done_bytes: int = 0
    total_bytes: int = 0


class Ready(msgspec.Struct, frozen=True, tag=True):
    stats: Stats


class Asleep(msgspec.Struct, frozen=True, tag=True):
    """What could be freed is free."""


class LongStep(msgspec.Struct, frozen=True, tag=True):
    """The step that starts now may take this long; leases may be renewed meanwhile."""

    bound_s: float


class StepDone(msgspec.Struct, frozen=True, tag=True):
    """Progress, even where a step has no events."""

    events: list[TokenEvent]
    stats: Stats
    ended_ns: int = 0
    """When the step ended, on the monotonic clock that the processes of a machine share."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The engine cannot go on; the process exits after saying so."""

    reason: str


FromEngine = StandingBy | Loading | Ready | Asleep | LongStep | StepDone | Failed
