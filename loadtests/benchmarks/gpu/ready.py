"""`python -m loadtests.benchmarks.gpu.ready`: whether `make gpu` can run here.

Exits with 0 where it can, else with 2 and says what is missing: the GPU first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

ENGINE = ("torch", "triton", "numpy", "msgspec", "blake3", "xxhash", "structlog")
NEEDED = (*ENGINE, "pytest", "hypothesis", "transformers")
"""Of the engine, and of its tests. Nothing else of Tamer is imported."""


_DEVICES = ("nvidia[0-9]*", "nvgpu", "nvhost-*", "dxg", "kfd")
"""What the drivers of NVIDIA, of WSL and of AMD put into /dev."""


def problem(
    has: Callable[[str], bool] = lambda name: find_spec(name) is not None,
    devices: Path = Path("/dev"),
) -> str:
    """What is missing; empty where nothing is."""
    if not any(found for pattern in _DEVICES for found in devices.glob(pattern)):
        return "no GPU: this machine has no device of its driver (/dev/nvidia0, /dev/kfd, /dev/dxg)"
    lacking = [name for name in NEEDED if not has(name)]
    if lacking:
        return f"{sys.executable} lacks {', '.join(lacking)}: install them, or name another PYTHON"
    # Only now: they import what may be missing.
    from worker.engine.base import EngineError
    from worker.engine.device import choose_device

    try:
        choose_device("cuda")
    except EngineError as error:
        return str(error)
    return ""


def main() -> int:
    found = problem()
    if found:
        sys.stderr.write(f"make gpu: {found}\n")
    return 2 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
