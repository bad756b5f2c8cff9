"""The checkpoint that is loaded: a Llama of random bf16 weights, as every loader wants it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from control_plane.importer.model import import_model
from loadtests.benchmarks.engine import weights
from loadtests.benchmarks.loader.destination import checksum

_WIDTH = 2048
_INNER = 8192
_KV_WIDTH = 512
_VOCABULARY = 49152
_READY = "ready"
_TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """The same tensors three times, on one disk."""

    safetensors: Path
    pickled: Path
    package: Path
    """The directory of a checkpoint package."""
    expected: Path
    """See `destination.Destination`."""

    @property
    def size_bytes(self) -> int:
        return self.safetensors.stat().st_size


def checkpoint(cache: Path, layers: int) -> CheckpointFiles:
    """Made once and kept in the cache; 17 layers are 2 GB."""
    folder = cache / "checkpoints" / f"random-llama-{layers}"
    if not (folder / _READY).exists():
        shutil.rmtree(folder, ignore_errors=True)
        _make(folder, layers, weights.hugging_face(cache))
        (folder / _READY).touch()
    [package] = (each for each in (folder / "packages").iterdir() if each.is_dir())
    return CheckpointFiles(
        safetensors=folder / "plain" / "model.safetensors",
        pickled=folder / "model.pt",
        package=package,
        expected=folder / "expected.json",
    )


def _make(folder: Path, layers: int, text: Path) -> None:
    from safetensors.torch import save_file

    plain = folder / "plain"
    plain.mkdir(parents=True)
    for name in _TEXT_FILES:
        shutil.copy(text / name, plain / name)
    (plain / "config.json").write_text(json.dumps(_config(layers)))
    tensors = dict(_tensors(layers))
    save_file(tensors, plain / "model.safetensors", metadata={"format": "pt"})
    torch.save(tensors, folder / "model.pt")
    expected = {name: _described(tensor) for name, tensor in tensors.items()}
    (folder / "expected.json").write_text(json.dumps(expected))
    del tensors
    import_model(plain, folder / "packages")


def _described(tensor: Tensor) -> dict[str, Any]:
    return {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "xxh3": checksum(tensor),
    }


def _tensors(layers: int) -> Iterator[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(20)
    for name, shape in _shapes(layers):
        yield name, torch.randn(shape, generator=generator).to(torch.bfloat16)


def _shapes(layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (_VOCABULARY, _WIDTH)
    for layer in range(layers):
        before = f"model.layers.{layer}."
        yield before + "input_layernorm.weight", (_WIDTH,)
        yield before + "self_attn.q_proj.weight", (_WIDTH, _WIDTH)
        yield before + "self_attn.k_proj.weight", (_KV_WIDTH, _WIDTH)
        yield before + "self_attn.v_proj.weight", (_KV_WIDTH, _WIDTH)
        yield before + "self_attn.o_proj.weight", (_WIDTH, _WIDTH)
        yield before + "post_attention_layernorm.weight", (_WIDTH,)
        yield before + "mlp.gate_proj.weight", (_INNER, _WIDTH)
        yield before + "mlp.up_proj.weight", (_INNER, _WIDTH)
        yield before + "mlp.down_proj.weight", (_WIDTH, _INNER)
    yield "model.norm.weight", (_WIDTH,)


def _config(layers: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": _WIDTH,
        "intermediate_size": _INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "vocab_size": _VOCABULARY,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "eos_token_id": 2,
    }
