"""Who takes part: our loader, and those that others use, each in an environment of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loadtests.benchmarks.arms.arm import ArmSpec
from loadtests.benchmarks.arms.environment import environment, python_of
from loadtests.benchmarks.loader.checkpoint import CheckpointFiles

OURS = "ours"
UNVERIFIED = "ours_unverified"
SAFETENSORS = "safetensors"
_ARMS = "loadtests.benchmarks.loader.arms"
_TORCH = "torch==2.13.0"
_CHECKING = ("numpy==2.4.6", "xxhash==4.1.0")


@dataclass(frozen=True, slots=True)
class Peer:
    module: str
    requirements: tuple[str, ...]
    pickled: bool = False
    """Reads the pickled file rather than the safetensors file."""


PEERS: Mapping[str, Peer] = {
    SAFETENSORS: Peer("safetensors_file", ("safetensors==0.8.0",)),
    "runai": Peer("runai_streamer", ("runai-model-streamer==0.17.0",)),
    "fastsafetensors": Peer("fastsafetensors_file", ("fastsafetensors==0.5.0",)),
    "torch_load": Peer("torch_load", (), pickled=True),
}


def spec_of(name: str, files: CheckpointFiles, cache: Path) -> ArmSpec:
    """How an arm is started; a peer is installed if it is not yet.

    Raises:
        NotInstalled: it cannot be had here.
    """
    settings = {"expected": str(files.expected)}
    if name in (OURS, UNVERIFIED):
        verified = {"verified": name == OURS, "size_bytes": files.size_bytes}
        return ArmSpec(f"{_ARMS}.tamer", {**settings, **verified})
    peer = PEERS[name]
    folder = environment(cache, name, (*peer.requirements, _TORCH, *_CHECKING))
    return ArmSpec(f"{_ARMS}.{peer.module}", settings, python_of(folder))


def file_of(name: str, files: CheckpointFiles) -> Path:
    """What an arm reads."""
    if name in (OURS, UNVERIFIED):
        return files.package / "model.safetensors"
    return files.pickled if PEERS[name].pickled else files.safetensors
