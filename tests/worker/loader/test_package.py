"""A package's tensors are those that were packed, read from where they landed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from infra.package_index import INDEX_FILE
from infra.safetensors import WEIGHTS_FILE
from tests.fixtures.packed_model import PackedModel
from tests.fixtures.tiny_decoder import TinyDecoder
from worker.kernels.int8_linear import dequantised
from worker.loader.arena import Arena
from worker.loader.landing import Landing
from worker.loader.ledger import LandingFailed
from worker.loader.opening import land, open_weights
from worker.loader.package import Package, read_head
from worker.models.base import ModelError


@pytest.fixture(scope="module")
def directory(tiny_decoder: TinyDecoder) -> Path:
    return tiny_decoder("Llama", tie_word_embeddings=True)


@pytest.fixture(scope="module")
def packed(directory: Path, packed_model: PackedModel) -> Path:
    return packed_model(directory)


@pytest.fixture
def broken(packed: Path, tmp_path: Path) -> Path:
    """A copy of the package to break."""
    return Path(shutil.copytree(packed, tmp_path / "model"))


def test_tensors_are_those_of_the_checkpoint(directory: Path, packed: Path) -> None:
    package = Package(land(packed))
    for name, expected in load_file(directory / WEIGHTS_FILE).items():
        assert torch.equal(package.tensor(name), expected)
        assert package.entries[name].shape == tuple(expected.shape)


def test_tensors_share_the_memory_that_they_landed_in(packed: Path) -> None:
    landing = land(packed, Arena(1 << 20))
    here, there = Package(landing), Package(Landing.open(landing.path))
    name = "model.norm.weight"
    begin, _ = here.entries[name].data_offsets
    assert not there.tensor(name).isnan().any()
    here.tensor(name)[0] = torch.nan
    assert there.tensor(name)[0].isnan()
    assert torch.frombuffer(landing.wait(begin, begin + 4, 0), dtype=torch.float32).isnan()


def test_a_tied_tensor_has_both_names(packed: Path) -> None:
    package = Package(land(packed))
    head, embedding = (
        package.tensor(each) for each in ("lm_head.weight", "model.embed_tokens.weight")
    )
    assert head.data_ptr() == embedding.data_ptr()


def test_what_is_multiplied_at_once_is_one_view(packed: Path) -> None:
    package = Package(land(packed))
    names = [f"model.layers.1.self_attn.{each}_proj.weight" for each in "qkv"]
    fused = package.fused(names)
    assert fused is not None
    assert torch.equal(fused, torch.cat([package.tensor(name) for name in names]))
    assert fused.data_ptr() == package.tensor(names[0]).data_ptr()
    assert package.fused(names[::-1]) is None


def test_slices_are_put_together(directory: Path, packed: Path, packed_model: PackedModel) -> None:
    whole, cut = Package(land(packed)), Package(land(packed_model(directory, slices=2)))
    name = "model.layers.0.self_attn.o_proj.weight"
    assert name in cut.landing.index.slices
    assert cut.entries[name].shape == whole.entries[name].shape
    assert torch.equal(cut.tensor(name), whole.tensor(name))


@pytest.mark.parametrize("slices", [1, 2])
def test_int8_values_come_with_their_scales(
    tiny_decoder: TinyDecoder, packed_model: PackedModel, slices: int
) -> None:
    source = tiny_decoder("Llama", hidden_size=128, num_attention_heads=8, intermediate_size=128)
    package = Package(land(packed_model(source, quantization="int8", slices=slices)))
    assert package.quantised
    assert package.scales("model.norm.weight") is None
    for name, expected in load_file(source / WEIGHTS_FILE).items():
        scales = package.scales(name)
        if scales is not None:
            restored = dequantised(package.tensor(name), scales)
            assert (restored - expected).abs().max() <= expected.abs().max() / 127 / 2 + 1e-6


def test_a_flipped_bit_is_told_with_file_and_chunk(broken: Path) -> None:
    body = bytearray((broken / WEIGHTS_FILE).read_bytes())
    body[-1] ^= 1
    (broken / WEIGHTS_FILE).write_bytes(body)
    package = Package(land(broken))
    package.tensor("model.embed_tokens.weight")
    with pytest.raises(LandingFailed, match=r"model\.safetensors: chunk \d+ of"):
        package.landing.wait(0, package.landing.index.data_bytes, 30)


@pytest.mark.parametrize("missing", [INDEX_FILE, WEIGHTS_FILE])
def test_files_that_are_no_package_are_refused_by_name(broken: Path, missing: str) -> None:
    (broken / missing).write_bytes(b"{}")
    with pytest.raises(ModelError, match=str(broken)):
        open_weights(broken)


def test_a_file_that_was_cut_is_refused_before_it_is_read(broken: Path) -> None:
    whole = (broken / WEIGHTS_FILE).read_bytes()
    (broken / WEIGHTS_FILE).write_bytes(whole[:-4096])
    with pytest.raises(
        ModelError, match=rf"{len(whole) - 4096} bytes and should have {len(whole)}"
    ):
        open_weights(broken)


def test_a_header_that_is_not_the_packed_one_is_refused(broken: Path) -> None:
    body = bytearray((broken / WEIGHTS_FILE).read_bytes())
    body[20] ^= 1
    (broken / WEIGHTS_FILE).write_bytes(body)
    with pytest.raises(ModelError, match="header"):
        open_weights(broken)


def test_an_index_of_another_model_is_refused(
    broken: Path, tiny_decoder: TinyDecoder, packed_model: PackedModel
) -> None:
    other = packed_model(tiny_decoder("Llama", num_hidden_layers=1))
    shutil.copy(other / INDEX_FILE, broken)
    with pytest.raises(ModelError, match="header"):
        open_weights(broken)


def test_a_landing_that_is_gone_is_replaced_by_the_folder(packed: Path) -> None:
    source = open_weights(packed, landing_path="/proc/self/fd/987654")
    assert isinstance(source, Package)
    assert source.tensor("model.norm.weight").isfinite().all()


def test_a_landing_of_another_model_is_not_believed(
    packed: Path, tiny_decoder: TinyDecoder, packed_model: PackedModel
) -> None:
    other = land(packed_model(tiny_decoder("Llama", num_hidden_layers=1)), Arena(64 << 20))
    source = open_weights(packed, landing_path=other.path)
    assert isinstance(source, Package)
    assert source.landing.index.root == read_head(packed)[0].root
