"""Compiles every GPU kernel ahead of time, on a machine that needs no GPU.

`python -m worker.kernels.compilation sm_80 sm_90 gfx942` prints a line for each; a kernel that a
target cannot have raises what its compiler says.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

OPERATIONS = (
    "rms_norm",
    "swiglu",
    "rope",
    "paged_attention",
    "sampling",
    "penalties",
    "token_mask",
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
            attrs={},
        )
        options = {"num_warps": self.warps, "num_stages": self.stages}
        return triton.compile(source, target=target, options=options)


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


def main(targets: list[str]) -> None:
    for name in targets:
        for program in programs():
            compiled = program.compile(gpu_target(name))
            constants = " ".join(f"{key}={value}" for key, value in program.constants.items())
            shared = compiled.metadata.shared
            sys.stdout.write(f"{name} {program.kernel.__name__} {shared} B shared: {constants}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
