"""Each family is imported with what its config says, and runs as transformers runs the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer

from control_plane.importer.errors import Corrupt, ImportRefused, Unsupported
from control_plane.importer.model import import_model
from control_plane.importer.text_assets import read_text_assets
from infra.storage.directory import local_path
from tests.control_plane.importer.tiny_model import tokenizer
from tests.fixtures.tiny_decoder import TinyDecoder
from tests.worker.models.judged import assert_logits_equal

YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}
BEFORE = {"original_max_position_embeddings": 256}
FAMILIES: dict[str, dict[str, Any]] = {
    "Mistral": {"sliding_window": 40},
    "Qwen2": {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1},
    "Qwen3": {"tie_word_embeddings": True},
    "Gemma3Text": {
        "tie_word_embeddings": True,
        "sliding_window": 40,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "Mixtral": {"num_local_experts": 4},
    "Qwen3Moe": {"num_experts": 4, "num_experts_per_tok": 2, "mlp_only_layers": [0]},
}


def with_tokenizer(directory: Path, made: Tokenizer | None = None) -> Path:
    (made or tokenizer()).save(str(directory / "tokenizer.json"))
    return directory


@pytest.mark.parametrize("family", FAMILIES)
def test_an_imported_family_runs_as_the_original(
    tiny_decoder: TinyDecoder, models_dir: Path, family: str
) -> None:
    made = tiny_decoder(family, vocab_size=260, eos_token_id=[1, 7], **FAMILIES[family])
    model = import_model(with_tokenizer(made), models_dir)
    assert model.architecture == f"{family.removesuffix('Text')}ForCausalLM"
    assert (model.max_context_tokens, model.vocabulary_size) == (256, 260)
    assert read_text_assets(local_path(model.uri)).eos_token_ids == (1, 7)
    assert_logits_equal(made, imported=local_path(model.uri))


def test_yarn_lengthens_the_context_that_the_config_declares(
    tiny_decoder: TinyDecoder, models_dir: Path
) -> None:
    scaling = {**YARN, **BEFORE}
    made = with_tokenizer(tiny_decoder("Qwen2", vocab_size=260, rope_parameters=scaling))
    model = import_model(made, models_dir)
    assert model.max_context_tokens == 1024
    assert_logits_equal(made, imported=local_path(model.uri))


def test_yarn_that_does_not_say_the_context_from_before_leaves_it_as_it_is(
    tiny_decoder: TinyDecoder, models_dir: Path, change_json: Any
) -> None:
    made = with_tokenizer(tiny_decoder("Qwen2", vocab_size=260, rope_parameters=YARN))
    change_json(made / "config.json", rope_parameters=YARN)
    model = import_model(made, models_dir)
    assert model.max_context_tokens == 256
    assert_logits_equal(made, imported=local_path(model.uri))


def test_a_tied_checkpoint_that_carries_its_head_is_imported_and_runs(
    tiny_decoder: TinyDecoder, models_dir: Path
) -> None:
    from safetensors.torch import load_file, save_file

    made = with_tokenizer(tiny_decoder("Qwen3", vocab_size=260, tie_word_embeddings=True))
    weights = load_file(made / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, made / "model.safetensors", metadata={"format": "pt"})
    assert_logits_equal(made, imported=local_path(import_model(made, models_dir).uri))


def test_added_tokens_that_the_model_has_no_row_for_become_text(
    tiny_decoder: TinyDecoder, models_dir: Path
) -> None:
    made = tokenizer()
    made.add_special_tokens([AddedToken("<image_soft_token>", normalized=False)])
    directory = with_tokenizer(tiny_decoder("Gemma3Text", vocab_size=260), made)
    model = import_model(directory, models_dir)
    assets = read_text_assets(local_path(model.uri))
    kept = Tokenizer.from_str(assets.tokenizer_json)
    assert max(kept.encode("<image_soft_token><|im_end|>").ids) < 260
    assert kept.token_to_id("<|im_end|>") == 1


@pytest.mark.parametrize(
    ("family", "fields", "kind"),
    [
        ("Mistral", {"sliding_window": -1}, Corrupt),
        ("Mistral", {"sliding_window": 0}, Corrupt),
        ("Qwen2", {"layer_types": ["full_attention"]}, Corrupt),
        ("Qwen2", {"layer_types": ["full_attention", "linear_attention"]}, Unsupported),
        ("Qwen2", {"rope_parameters": {**YARN, "factor": 1e12, **BEFORE}}, Corrupt),
        ("Mixtral", {"num_local_experts": 5}, Corrupt),
        ("Mixtral", {"num_experts_per_tok": 9}, Corrupt),
        ("Mixtral", {"num_local_experts": 1 << 20}, Corrupt),
        ("Qwen3Moe", {"mlp_only_layers": []}, Corrupt),
        ("Qwen3Moe", {"mlp_only_layers": "0"}, Corrupt),
        ("Qwen3Moe", {"num_experts": 5}, Corrupt),
        ("Gemma3Text", {"rope_parameters": {"full_attention": 3}}, Corrupt),
        ("Gemma3Text", {"hidden_activation": "gelu"}, Unsupported),
        ("Gemma3Text", {"attn_logit_softcapping": 50.0}, Unsupported),
        ("Gemma3Text", {"use_bidirectional_attention": True}, Unsupported),
        ("Qwen2", {"architectures": ["Qwen3ForCausalLM"]}, ImportRefused),
    ],
)
def test_a_config_that_contradicts_its_family_or_its_tensors_is_refused(
    tiny_decoder: TinyDecoder,
    models_dir: Path,
    change_json: Any,
    family: str,
    fields: dict[str, Any],
    kind: type[ImportRefused],
) -> None:
    directory = with_tokenizer(tiny_decoder(family, vocab_size=260, **FAMILIES[family]))
    change_json(directory / "config.json", **fields)
    with pytest.raises(kind):
        import_model(directory, models_dir)
    assert not list(models_dir.glob("*/manifest.json"))
