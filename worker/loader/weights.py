"""Fills a model's tensors from a checkpoint: all of them, nothing else, each of its shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set

from infra.package_tensors import is_padding
from worker.loader.checkpoint import Checkpoint
from worker.loader.safetensors_file import DTYPES
from worker.models.base import ModelError, WeightTarget

IGNORED_SUFFIXES = (".rotary_emb.inv_freq",)
"""Buffers that older checkpoints carry; they follow from the config."""


def check_weights(
    wanted: Mapping[str, WeightTarget], checkpoint: Checkpoint, unread: Set[str] = frozenset()
) -> None:
    """Compare a model's tensors (of any device, `meta` included) with a checkpoint's headers.

    Args:
        unread: tensors that the checkpoint may have though the model has no place for them.

    Raises:
        ModelError: names a tensor that is missing, unknown, of another shape, or no floats.
    """
    held = {
        name: entry
        for name, entry in checkpoint.entries.items()
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
        if not DTYPES[entry.dtype].is_floating_point:
            raise ModelError(f"tensor {name} is {entry.dtype}; weights must be floating point")


def load_weights(
    wanted: Mapping[str, WeightTarget],
    checkpoint: Checkpoint,
    progress: Callable[[int, int], None],
    unread: Set[str] = frozenset(),
) -> None:
    """Copy (and convert) every tensor; `progress` hears bytes done and in total after each.

    Raises:
        ModelError: see `check_weights`; nothing has been copied then.
    """
    check_weights(wanted, checkpoint, unread)
    entries = checkpoint.entries
    total = sum(entries[name].size_bytes for name in wanted)
    done = 0
    # In the order of the file, so that a disk reads forwards.
    for name in sorted(wanted, key=lambda each: entries[each].data_offsets):
        wanted[name].copy_(checkpoint.tensor(name))
        done += entries[name].size_bytes
        progress(done, total)


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    rest = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return ", ".join(ordered[:3]) + rest
