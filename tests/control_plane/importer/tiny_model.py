"""Tiny random checkpoints, as a Hugging Face directory and as a GGUF file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from infra.package_tensors import is_padding

Weights = dict[str, npt.NDArray[Any]]

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 260,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "eos_token_id": 1,
}
SPECIAL = ["<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MERGES = [("h", "e"), ("l", "l")]


def vocabulary() -> list[str]:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [*SPECIAL, *alphabet, *(left + right for left, right in MERGES)]


def weights() -> Weights:
    """Every tensor that `CONFIG` asks for, in float32."""
    noise = np.random.default_rng(7)

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        return noise.standard_normal(shape, dtype=np.float32)

    tensors: Weights = {
        "model.embed_tokens.weight": normal(260, 64),
        "model.norm.weight": normal(64),
    }
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        tensors |= {
            prefix + "input_layernorm.weight": normal(64),
            prefix + "post_attention_layernorm.weight": normal(64),
            prefix + "self_attn.q_proj.weight": normal(64, 64),
            prefix + "self_attn.k_proj.weight": normal(32, 64),
            prefix + "self_attn.v_proj.weight": normal(32, 64),
            prefix + "self_attn.o_proj.weight": normal(64, 64),
            prefix + "mlp.gate_proj.weight": normal(96, 64),
            prefix + "mlp.up_proj.weight": normal(96, 64),
            prefix + "mlp.down_proj.weight": normal(64, 96),
        }
    return tensors


def packed_weights(model_dir: Path) -> Weights:
    """Every tensor of a package but its padding."""
    loaded = load_file(model_dir / "model.safetensors")
    return {name: tensor for name, tensor in loaded.items() if not is_padding(name)}


def tokenizer() -> Tokenizer:
    tokens = {text: number for number, text in enumerate(vocabulary())}
    made = Tokenizer(models.BPE(vocab=tokens, merges=MERGES))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIAL])
    return made


def write_directory(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": [1]}))
    (path / "tokenizer_config.json").write_text(
        json.dumps(
            {"chat_template": TEMPLATE, "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
        )
    )
    tokenizer().save(str(path / "tokenizer.json"))
    save_file(weights(), path / "model.safetensors")
    return path


_GGUF_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    layer, _, rest = name.removeprefix("model.layers.").partition(".")
    stem, _, kind = rest.rpartition(".")
    return f"blk.{layer}.{_GGUF_NAMES[stem]}.{kind}"


def interleaved(matrix: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """What llama.cpp's converter does to q and k: (half, pair) rows become (pair, half)."""
    rows, columns = matrix.shape
    return (
        matrix.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
    )


def write_gguf(
    path: Path,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    overrides: Mapping[str, Any] | None = None,
) -> Path:
    """The same model as a GGUF file; `overrides` replace or (None) drop metadata."""
    writer = gguf.GGUFWriter(path, "llama")
    metadata: dict[str, Any] = {
        "llama.block_count": 2,
        "llama.context_length": 128,
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 96,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 10000.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": vocabulary(),
        "tokenizer.ggml.token_type": [3, 3] + [1] * 258,
        "tokenizer.ggml.merges": [" ".join(merge) for merge in MERGES],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.chat_template": TEMPLATE,
    } | dict(overrides or {})
    for key, value in metadata.items():
        match value:
            case None:
                pass
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case float():
                writer.add_float32(key, value)
            case str():
                writer.add_string(key, value)
            case _:
                writer.add_array(key, value)
    for name, tensor in weights().items():
        heads = 4 if "q_proj" in name else 2 if "k_proj" in name else 0
        stored = interleaved(tensor, heads) if heads else tensor
        its_kind = kind if stored.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(
            gguf_name(name), gguf.quants.quantize(stored, its_kind), raw_dtype=its_kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
