"""Which offers can carry a replica of a revision, and what it would serve there, by data sheets."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.controller.placement_rows import Placed
from control_plane.placement.offer import Offer
from control_plane.placement.problem import Fit
from infra.performance.capacity import Slo, SloUnreachable
from infra.performance.hardware import Accelerator, UnknownAccelerator, accelerator
from infra.performance.memory import DoesNotFit, require_weights, weights_of
from infra.performance.serving import Serving, slo_of

_DEVICES = 1
"""Slots of a replica."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a replica needs of a machine."""

    weight_bytes: int
    serving: Serving | None
    """None where no more is known than that."""
    slo: Slo | None

    @classmethod
    def of(cls, placed: Placed) -> Load:
        options, model = placed.revision.options, placed.model
        int8 = "int8" in (options.get("quantization"), model.quantization)
        return cls(
            weights_of(model.parameters, int8),
            Serving.of(model.facts, model.quantization, options),
            slo_of(placed.deployment.spec),
        )

    def on(self, offer: Offer) -> Fit | str:
        """How it fits, or why it does not. A replica is one replica wherever it runs."""
        try:
            self._require(accelerator(offer.accelerator))
        except (DoesNotFit, UnknownAccelerator, SloUnreachable) as error:
            return str(error)
        return Fit(offer.pool, _DEVICES, 1.0)

    def tokens_per_s(self, accelerator_name: str) -> float | None:
        """Prompt and output tokens of usual requests that one replica serves within the SLO; None
        where nobody knows."""
        if self.serving is None:
            return None
        try:
            found = self.serving.capacity_on(accelerator(accelerator_name), self.slo)
        except (DoesNotFit, UnknownAccelerator, SloUnreachable):
            return None
        return found.prefill_tokens_per_s + found.decode_tokens_per_s

    def _require(self, device: Accelerator) -> None:
        if self.serving is None:
            require_weights(self.weight_bytes, device, _DEVICES)
        elif self.slo is None:
            self.serving.kv_tokens_on(device)
        else:
            self.serving.capacity_on(device, self.slo)
