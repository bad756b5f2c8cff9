"""Which offers can carry a replica of a revision, and how much of the demand each carries."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.controller.placement_rows import Placed
from control_plane.placement.offer import Offer
from control_plane.placement.problem import Fit
from infra.performance.hardware import UnknownAccelerator, accelerator
from infra.performance.memory import DoesNotFit, require_weights, weights_of

_DEVICES = 1
"""Slots of a replica."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a replica needs of a machine."""

    weight_bytes: int

    @classmethod
    def of(cls, placed: Placed) -> Load:
        said = placed.revision.options.get("quantization"), placed.model.quantization
        return cls(weights_of(placed.model.parameters, "int8" in said))

    def on(self, offer: Offer) -> Fit | str:
        """How it fits, or why it does not. A replica is one replica wherever it runs."""
        try:
            require_weights(self.weight_bytes, accelerator(offer.accelerator), _DEVICES)
        except (DoesNotFit, UnknownAccelerator) as error:
            return str(error)
        return Fit(offer.pool, _DEVICES, 1.0)
