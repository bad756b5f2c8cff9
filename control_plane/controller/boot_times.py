"""What the ledger says about the next start of a revision (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.autoscaler.boot_time import BootTime, boot_time
from control_plane.store.repositories.starts import BootSample

SAMPLES = 50
"""Of the newest starts of a revision."""


def next_boot_time(samples: Sequence[BootSample], asleep: bool) -> BootTime:
    """The next start is taken to be like the last of its kind: on the same type of instance, with
    the bytes as near. So one that had to download its model says little of those after it.

    Args:
        samples: of one revision, the newest first.
        asleep: whether a replica sleeps, so that the next start is its wake.
    """
    alike = [each for each in samples if each.woken == asleep]
    if not alike:
        return boot_time([each.seconds for each in samples])
    last = (alike[0].instance_type, alike[0].tier)
    return boot_time([each.seconds for each in alike if (each.instance_type, each.tier) == last])
