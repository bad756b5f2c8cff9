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


def write(path: Path, header: Any) -> Path:
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(body).to_bytes(8, "little") + body + bytes(24))
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
    [(b"{", "broken header"), ({"w": {**TENSOR, "dtype": "F8_E4M3", "shape": [24]}}, "not run")],
)
def test_a_file_that_cannot_be_believed_or_run_is_refused(
    tmp_path: Path, header: Any, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        SafetensorsFile(write(tmp_path / "model.safetensors", header))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is missing"):
        SafetensorsFile(tmp_path / "model.safetensors")


def test_truncation_at_any_byte_is_noticed(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", {"w": TENSOR}).read_bytes()
    path = tmp_path / "model.safetensors"
    SafetensorsFile(tmp_path / "whole")
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(ModelError):
            SafetensorsFile(path)
