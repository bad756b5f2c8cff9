"""The weights of a model directory that is no package: one safetensors file, or shards.

They are read through the page cache, in the order in which they happen to lie, and believed as they
are: nothing says what they should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

from torch import Tensor

from infra.safetensors import INDEX_FILE, WEIGHTS_FILE, TensorEntry
from worker.loader.safetensors_file import SafetensorsFile
from worker.models.base import ModelError
from worker.models.registry import read_json


class Checkpoint:
    """`WeightSource` of a directory.

    Raises:
        ModelError: files are missing or broken, or index and shards disagree.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        single = directory / WEIGHTS_FILE
        if single.exists():
            file = SafetensorsFile(single)
            self._files = dict.fromkeys(file.entries, file)
        elif (directory / INDEX_FILE).exists():
            self._files = self._open_shards()
        else:
            raise ModelError(f"{directory} has neither {WEIGHTS_FILE} nor {INDEX_FILE}")

    @property
    def entries(self) -> dict[str, TensorEntry]:
        return {name: file.entries[name] for name, file in self._files.items()}

    @property
    def total_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries.values())

    quantised = False

    def tensor(self, name: str) -> Tensor:
        return self._files[name].tensor(name)

    def scales(self, _name: str) -> None:
        """Quantised weights come in packages only."""

    def fused(self, _names: Sequence[str]) -> None:
        """Nothing lies together but by chance."""

    def _open_shards(self) -> dict[str, SafetensorsFile]:
        shard_of = read_json(self._directory / INDEX_FILE).get("weight_map")
        if not isinstance(shard_of, dict) or not shard_of:
            raise ModelError(f"{INDEX_FILE}: 'weight_map' must name the shard of each tensor")
        shards = {shard: self._open_shard(shard) for shard in dict.fromkeys(shard_of.values())}
        for name, shard in shard_of.items():
            if name not in shards[shard].entries:
                raise ModelError(f"{INDEX_FILE} says {name} is in {shard}, which does not have it")
        held = sum(len(file.entries) for file in shards.values())
        if held != len(shard_of):
            raise ModelError(f"{INDEX_FILE} names {len(shard_of)} tensors; its shards hold {held}")
        return {name: shards[shard] for name, shard in shard_of.items()}

    def _open_shard(self, shard: object) -> SafetensorsFile:
        if not isinstance(shard, str) or PurePath(shard).name != shard:
            raise ModelError(f"{INDEX_FILE}: {shard!r} is not the name of a file beside it")
        return SafetensorsFile(self._directory / shard)
