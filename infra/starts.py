"""The phases of a start, from the first waiting request to the first token, in their order."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """They do not overlap: where two things happen at once, the time is that of the first one."""

    DECIDE = "decide"
    """The oldest request waited until the controller asked for a replica."""
    LAUNCH = "launch"
    """Until the cloud had taken the launch; nothing where the machine was there."""
    BOOT = "boot"
    """Until the machine's agent had joined."""
    JOIN = "join"
    """Until the agent had heard what to run; telling the controller that it runs is in here too."""
    FETCH = "fetch"
    """Until the files of the model were there."""
    VERIFY = "verify"
    """Of the wait for the weights, what those who brought them spent on checking them."""
    ENGINE = "engine"
    """Until the engine's process had its imports done: what a standby saves."""
    LOAD = "load"
    """Until the weights were in place."""
    WARM = "warm"
    """Until the engine was ready: its memory, graphs and first steps."""
    FIRST_TOKEN = "first_token"
    """Until its first token, counted from when it was ready and had a job."""


class Tier(StrEnum):
    """Where the bytes of a model came from, the nearest first."""

    MEMORY = "memory"
    DISK = "disk"
    PEER = "peer"
    STORE = "store"


BY_AGENT = (
    Phase.FETCH,
    Phase.VERIFY,
    Phase.ENGINE,
    Phase.LOAD,
    Phase.WARM,
)
"""Those until it is ready that the agent measures."""
