"""Weights that leave a device while their engine sleeps, and come back to the same tensors."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, UntypedStorage

from worker.models.layers.linear import WeightPart


class HostedWeights:
    """What lies in host memory anyway stays where it is.

    Storages are emptied and filled again, not tensors: every view of a fused weight goes on
    pointing at its part (the way of PyTorch's FSDP, Zhao et al., 2023).

    Args:
        tensors: of a model, as it gives them to be filled; several may lie in one storage.
    """

    def __init__(self, tensors: Iterable[object]) -> None:
        held = [tensor for each in tensors for tensor in _held(each)]
        moved = [each for each in held if each.device.type != "cpu"]
        self._stored = [(storage, _on_host(storage)) for storage in storages_of(moved)]
        for storage, _ in self._stored:
            storage.resize_(0)

    def bring_back(self) -> None:
        """Raises torch.OutOfMemoryError: the device has no room for them any more."""
        for storage, host in self._stored:
            storage.resize_(host.nbytes())
            storage.copy_(host, non_blocking=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()


def _held(target: object) -> list[Tensor]:
    if isinstance(target, WeightPart):
        return target.weight.held
    return [target] if isinstance(target, Tensor) else []


def storages_of(tensors: Iterable[Tensor]) -> list[UntypedStorage]:
    """Each storage once."""
    found = (each.untyped_storage() for each in tensors)
    return list({storage.data_ptr(): storage for storage in found}.values())


def _on_host(storage: UntypedStorage) -> UntypedStorage:
    pinned = storage.device.type == "cuda"
    host = torch.empty(storage.nbytes(), dtype=torch.uint8, pin_memory=pinned).untyped_storage()
    return host.copy_(storage, non_blocking=False)
