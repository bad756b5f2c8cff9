"""Fills a model's tensors from where its weights are: all of them, nothing else, each of its
shape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set

from torch import Tensor

from infra.package_tensors import is_padding
from worker.kernels.int8_linear import dequantised
from worker.loader.weight_source import DTYPES, WeightSource
from worker.models.base import Int8Target, ModelError, WeightTarget
from worker.models.layers.linear import DenseWeight, WeightPart

IGNORED_SUFFIXES = (".rotary_emb.inv_freq",)
"""Buffers that older checkpoints carry; they follow from the config."""


def check_weights(
    wanted: Mapping[str, WeightTarget], source: WeightSource, unread: Set[str] = frozenset()
) -> None:
    """Compare a model's tensors (of any device, `meta` included) with the headers of a source.

    Args:
        unread: tensors that the source may have though the model has no place for them.

    Raises:
        ModelError: names a tensor that is missing, unknown, of another shape, or no floats.
    """
    held = {
        name: entry
        for name, entry in source.entries.items()
        if name not in unread and not name.endswith(IGNORED_SUFFIXES) and not is_padding(name)
    }
    if missing := wanted.keys() - held.keys():
        raise ModelError(f"the checkpoint lacks {_some(missing)}, which config.json calls for")
    if extra := held.keys() - wanted.keys():
        raise ModelError(f"the checkpoint has {_some(extra)}, which config.json has no place for")
    for name, tensor in wanted.items():
        shape, entry = tuple(tensor.shape), held[name]
        if entry.shape != shape:
            raise ModelError(
                f"tensor {name} has shape {list(entry.shape)}; config.json calls for {list(shape)}"
            )
        int8 = source.quantised and entry.dtype == "I8"
        if not int8 and not DTYPES[entry.dtype].is_floating_point:
            raise ModelError(f"tensor {name} is {entry.dtype}; weights must be floating point")


def part_bytes(part: Mapping[str, WeightTarget], source: WeightSource) -> int:
    return sum(source.entries[name].size_bytes for name in part)


def fill_part(part: Mapping[str, WeightTarget], source: WeightSource) -> None:
    """Fill some of a model's tensors; waits for their bytes. Raises LandingFailed."""
    adopted = _adopted(part, source)
    # In the order of the file, so that a disk reads forwards.
    for name in sorted(part, key=lambda each: source.entries[each].data_offsets):
        if name not in adopted:
            fill(part[name], source.tensor(name), source.scales(name))


def fill(target: WeightTarget, values: Tensor, scales: Tensor | None) -> None:
    if scales is None:
        target.copy_(values)
    elif isinstance(target, Int8Target):
        target.copy_int8(values, scales)
    else:
        target.copy_(dequantised(values, scales))


def _adopted(part: Mapping[str, WeightTarget], source: WeightSource) -> Set[str]:
    """Names whose weights have become views of the source, so that processes share them."""
    owners: dict[int, list[tuple[int, str]]] = defaultdict(list)
    weights: dict[int, DenseWeight] = {}
    for name, target in part.items():
        if isinstance(target, WeightPart) and isinstance(target.weight, DenseWeight):
            owners[id(target.weight)].append((target.first, name))
            weights[id(target.weight)] = target.weight
    adopted: set[str] = set()
    for owner, held in owners.items():
        names = [name for _, name in sorted(held)]
        whole = source.fused(names)
        if whole is not None and weights[owner].adopt(whole):
            adopted.update(names)
    return adopted


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    rest = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return ", ".join(ordered[:3]) + rest
