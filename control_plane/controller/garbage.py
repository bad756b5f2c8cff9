"""How often this process looks for garbage that counting references does not find.

A pass reads thousands of rows and lets go of them: none is garbage of that kind, but each thousand
allocations would have Python look at all that is alive, for longer than the plan itself takes.
"""

from __future__ import annotations

import gc

_ALLOCATIONS = 50_000
"""About two passes over five thousand replicas."""


def collect_less_often() -> None:
    """Call it when all modules are imported: what is alive then is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, *gc.get_threshold()[1:])
