"""What decides how fast a replica of a revision is, and how fast its deployment wants it to be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.performance.capacity import Capacity, RequestMix, Slo, capacity
from infra.performance.hardware import Accelerator
from infra.performance.memory import plan_memory
from infra.performance.model_facts import ModelFacts, Quantization
from infra.performance.step_time import StepTime, roofline

JOBS_PER_REPLICA = 32
"""Where the engine's options do not say how many jobs run at once."""
_CONTEXT_TOKENS = 4096
USUAL_MIX = RequestMix(prompt_tokens=512.0, output_tokens=256.0)
"""A question and its answer: believed of a deployment that nobody has asked anything yet."""
_UNHURRIED = Slo(ttft_s=math.inf, tpot_s=math.inf)


@dataclass(frozen=True, slots=True)
class Serving:
    """What of a revision decides how fast it is."""

    facts: ModelFacts
    quantization: Quantization
    max_context_tokens: int
    max_running: int

    @classmethod
    def of(
        cls, facts: Mapping[str, int], quantization: str, options: Mapping[str, Any]
    ) -> Serving | None:
        """None where nothing is known of the model's size.

        Args:
            facts: of the model's row.
            quantization: of the model's package.
            options: of the engine.
        """
        if not facts:
            return None
        int8 = "int8" in (quantization, options.get("quantization"))
        return cls(
            facts=ModelFacts(**facts),
            quantization="int8" if int8 else "none",
            max_context_tokens=int(options.get("max_context_tokens") or _CONTEXT_TOKENS),
            max_running=jobs_per_replica(options),
        )

    def time_on(self, device: Accelerator) -> StepTime:
        """What nobody has measured yet."""
        return roofline(self.facts, device, self.quantization)

    def kv_tokens_on(self, device: Accelerator) -> int:
        """Raises DoesNotFit: the model needs more memory than there is."""
        context = self.max_context_tokens
        return plan_memory(self.facts, device, self.quantization, 1, context).kv_tokens

    def capacity_on(self, device: Accelerator, slo: Slo | None) -> Capacity:
        """Of one replica, for usual requests, before anything was measured.

        Args:
            slo: None: nothing is promised, so memory and the engine's own limit end the batch.

        Raises:
            DoesNotFit: the model needs more memory than there is.
            SloUnreachable: not even one request at a time meets the SLO.
        """
        room, time = self.kv_tokens_on(device), self.time_on(device)
        return capacity(time, USUAL_MIX, slo or _UNHURRIED, room, self.max_running)


def jobs_per_replica(options: Mapping[str, Any]) -> int:
    """Whatever else a user wrote there, the engine refuses with its own words."""
    jobs = options.get("max_running", JOBS_PER_REPLICA)
    return jobs if isinstance(jobs, int) and jobs > 0 else JOBS_PER_REPLICA


def slo_of(spec: Mapping[str, Any]) -> Slo | None:
    """None where the specification promises nothing."""
    said = spec.get("slo") or {}
    ttft_ms, tpot_ms = said.get("ttft_ms"), said.get("tpot_ms")
    if ttft_ms is None and tpot_ms is None:
        return None
    return Slo(
        ttft_s=math.inf if ttft_ms is None else ttft_ms / 1000,
        tpot_s=math.inf if tpot_ms is None else tpot_ms / 1000,
    )
