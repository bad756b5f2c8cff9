"""Compiles every GPU kernel ahead of time, on a machine that needs no GPU.

`python -m worker.kernels.compilation sm_80 sm_90 gfx942` prints a line for each; a kernel that a
target cannot have raises what its compiler says.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

OPERATIONS = (
    "rms_norm",
    "swiglu",
    "rope",
    "paged_attention",
    "sampling",
    "penalties",
    "token_mask",
    "linear",
    "int8_linear",
    "fp8_linear",
    "int4_linear",
    "grouped_linear",
    "lora",
)
DTYPE = "bf16"
"""The dtype of activations that kernels are compiled for."""


@dataclass(frozen=True, slots=True)
class Program:
    """A kernel with the types of its arguments and the values of its constants."""

    kernel: Any
    types: Mapping[str, str]
    constants: Mapping[str, Any]
    warps: int = 4
    stages: int = 2

    def compile(self, target: Any) -> Any:
        """Triton's compiled kernel for a target of `gpu_target`."""
        triton = import_module("triton")
        source = import_module("triton.compiler").ASTSource(
            fn=self.kernel,
            signature={**self.types, **dict.fromkeys(self.constants, "constexpr")},
            constexprs=dict(self.constants),
            attrs=self._alignment(),
        )
        options = {"num_warps": self.warps, "num_stages": self.stages}
        return triton.compile(source, target=target, options=options)

    def _alignment(self) -> dict[tuple[int], list[list[Any]]]:
        """What a launch would find: torch's memory, and rows of it, begin at multiples of 16."""
        names = list(self.kernel.arg_names)
        aligned = (name for name, kind in self.types.items() if kind[0] == "*" or kind == "i64")
        return {(names.index(name),): [["tt.divisibility", 16]] for name in aligned}


def gpu_target(name: str) -> Any:
    """Triton's target for `sm_<compute capability>` (NVIDIA) or `gfx...` (AMD, 64-lane waves)."""
    target = import_module("triton.backends.compiler").GPUTarget
    if name.startswith("sm_"):
        return target("cuda", int(name.removeprefix("sm_")), 32)
    return target("hip", name, 64)


def programs() -> list[Program]:
    """What a serving engine may launch, by shapes of its own, not of one model."""
    return [
        program
        for operation in OPERATIONS
        for program in import_module(f"worker.kernels.{operation}.gpu").programs()
    ]


def registers_of(compiled: Any) -> str:
    """What a kernel holds in registers, and what did not fit into them (its stack), a thread; empty
    where the target is not NVIDIA's."""
    if "cubin" not in compiled.asm:
        return ""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "kernel.cubin"
        path.write_bytes(compiled.asm["cubin"])
        tool = import_module("triton").knobs.nvidia.cuobjdump.path
        command = [tool, "--dump-resource-usage", str(path)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"(REG|STACK):(\d+)", shown))
    return f", {found['REG']} registers, {found['STACK']} B stack"


def main(targets: list[str]) -> None:
    for name in targets:
        for program in programs():
            compiled = program.compile(gpu_target(name))
            constants = " ".join(f"{key}={value}" for key, value in program.constants.items())
            shared = compiled.metadata.shared
            sys.stdout.write(
                f"{name} {program.kernel.__name__} {shared} B shared{registers_of(compiled)}: "
                f"{constants}\n"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
