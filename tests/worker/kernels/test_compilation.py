"""Every GPU kernel compiles for the targets that Tamer is built for, on a machine without one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.fixtures.requirements import imported
from worker.kernels.compilation import OPERATIONS

TARGETS = ("sm_80", "sm_90", "gfx942")
SHARED = re.compile(r"gfx942 \w+ (\d+) B shared")
MOST_SHARED_BYTES = 64 << 10
"""Of an MI300's compute unit, the least of the three."""


def test_every_kernel_compiles_ahead_of_time_for_nvidia_and_amd(tmp_path: Path) -> None:
    imported("triton")
    # A process of its own: in this one kernels are interpreted. A cache of its own: nothing older
    # may stand in for a kernel.
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    command = [sys.executable, "-m", "worker.kernels.compilation", *TARGETS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    lines = done.stdout.splitlines()
    for target in TARGETS:
        assert sum(line.startswith(f"{target} ") for line in lines) >= len(OPERATIONS)

    spilled = [line for line in lines if line.startswith("sm_90") and " 0 B stack" not in line]
    assert not spilled, "registers do not suffice"
    memory = {int(found[1]) for found in map(SHARED.match, lines) if found}
    assert memory
    assert max(memory) <= MOST_SHARED_BYTES


def test_every_operation_with_a_gpu_kernel_is_compiled() -> None:
    rooms = Path(__file__).parents[3] / "worker/kernels"
    assert {path.parent.name for path in rooms.glob("*/gpu.py")} == set(OPERATIONS)
