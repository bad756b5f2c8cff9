"""Which machines hold a model, and are fast enough for what a spec promises, by data sheets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from control_plane.api.deployments.revision import engine_options
from control_plane.api.deployments.spec import DeploymentSpec
from control_plane.api.problem import invalid_field
from control_plane.store.tables import Model
from infra.instance_types import InstanceType
from infra.performance.capacity import Slo, SloUnreachable
from infra.performance.hardware import Accelerator, accelerator
from infra.performance.memory import DoesNotFit, require_weights, weights_of
from infra.performance.serving import Serving, slo_of


def fitting(
    allowed: Sequence[InstanceType], spec: DeploymentSpec, model: Model
) -> Sequence[InstanceType]:
    """Those of these that hold the model, and meet the SLO for one usual request at a time.

    Raises:
        Problem: 422, none does; with the numbers.
    """
    options = engine_options(spec.engine, model)
    serving = Serving.of(model.facts, model.quantization, options)
    int8 = "int8" in (options["quantization"], model.quantization)
    weight_bytes = weights_of(model.parameters, int8)
    found, refused = _divide(allowed, lambda device: _too_small(device, serving, weight_bytes))
    if not found:
        largest = max(refused, key=lambda name: accelerator(name).memory_bytes)
        message = f"{refused[largest]}, the largest that is allowed: allow a larger one, or int8"
        raise invalid_field("placement.accelerators", message)
    slo = slo_of(spec.model_dump(include={"slo"}))
    if slo is None or serving is None:
        return found
    fast, refused = _divide(found, lambda device: _too_slow(device, serving, slo))
    if not fast:
        fastest = max(refused, key=lambda name: accelerator(name).bandwidth_bytes_per_s)
        message = (
            f"no allowed machine can meet it; on {fastest}, the fastest of them, "
            f"{refused[fastest]}: allow more time, a faster machine, or int8"
        )
        raise invalid_field("slo", message)
    return fast


def tokens_per_s(kind: InstanceType, spec: DeploymentSpec, model: Model) -> float | None:
    """Prompt and output tokens of usual requests that a replica serves there within the SLO; None
    where too little is known of the model."""
    serving = Serving.of(model.facts, model.quantization, engine_options(spec.engine, model))
    if serving is None:
        return None
    found = serving.capacity_on(accelerator(kind.accelerator), slo_of(spec.model_dump()))
    return found.prefill_tokens_per_s + found.decode_tokens_per_s


def _divide(
    types: Sequence[InstanceType], refusal: Callable[[Accelerator], str]
) -> tuple[list[InstanceType], dict[str, str]]:
    """Those without a refusal, and the refusals by accelerator."""
    names = {each.accelerator for each in types}
    said = {name: refusal(accelerator(name)) for name in names}
    refused = {name: why for name, why in said.items() if why}
    return [each for each in types if each.accelerator not in refused], refused


def _too_small(device: Accelerator, serving: Serving | None, weight_bytes: int) -> str:
    try:
        if serving is None:
            require_weights(weight_bytes, device)
        else:
            serving.kv_tokens_on(device)
    except DoesNotFit as error:
        return str(error)
    return ""


def _too_slow(device: Accelerator, serving: Serving, slo: Slo) -> str:
    try:
        serving.capacity_on(device, slo)
    except SloUnreachable as error:
        return str(error)
    return ""
