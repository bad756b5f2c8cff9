"""A safetensors header is believed only where file and header agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from worker.loader.safetensors_file import SafetensorsFile
from worker.models.base import ModelError

TENSOR = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def write(path: Path, header: Any, data_bytes: int = 24, length: int | None = None) -> Path:
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    prefix = (len(body) if length is None else length).to_bytes(8, "little")
    path.write_bytes(prefix + body + bytes(data_bytes))
    return path


def test_tensors_are_read_as_the_library_wrote_them(tmp_path: Path) -> None:
    written = {
        "a": torch.randn(3, 5),
        "b": torch.randn(7).to(torch.bfloat16),
        "c": torch.arange(6).view(2, 3),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 4),
    }
    path = tmp_path / "model.safetensors"
    save_file(written, path, metadata={"format": "pt"})
    file = SafetensorsFile(path)
    assert file.entries.keys() == written.keys()
    for name, tensor in written.items():
        assert torch.equal(file.tensor(name), tensor)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{", "broken header"),
        (b"[]", "no JSON object"),
        (b"\xff" * 8, "broken header"),
        (b"[" * 100_000, "broken header"),
        (b'{"w":' + json.dumps(TENSOR).encode() + b',"w":1}', "appears twice"),
        ({"w": {**TENSOR, "dtype": "F4"}}, "dtype F4"),
        ({"w": {**TENSOR, "shape": [2, 2]}}, "needs 16"),
        ({"w": {**TENSOR, "shape": [-2, -3]}}, "broken header"),
        ({"w": {**TENSOR, "shape": [1 << 62, 1 << 62]}}, "needs"),
        ({"w": {**TENSOR, "data_offsets": [0, 1 << 60]}}, "gives tensor w"),
        ({"w": {**TENSOR, "data_offsets": [24, 0]}}, "gap or an overlap"),
        ({"w": {**TENSOR, "data_offsets": [4, 28]}}, "gap or an overlap"),
        ({"w": TENSOR, "v": TENSOR}, "gap or an overlap"),
        ({"w": {"dtype": "F32"}}, "broken header"),
        ({"w": [1]}, "broken header"),
        ({}, "describes 0"),
    ],
)
def test_a_lying_header_is_refused(tmp_path: Path, header: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        SafetensorsFile(write(tmp_path / "model.safetensors", header))


@pytest.mark.parametrize("length", [1 << 63, 101 << 20, 500])
def test_a_header_longer_than_its_file_is_refused(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "model.safetensors", {"w": TENSOR}, length=length)
    with pytest.raises(ModelError, match="more than it may or can have"):
        SafetensorsFile(path)


def test_truncation_at_any_byte_is_noticed(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", {"w": TENSOR}).read_bytes()
    path = tmp_path / "model.safetensors"
    SafetensorsFile(tmp_path / "whole")
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(ModelError):
            SafetensorsFile(path)
