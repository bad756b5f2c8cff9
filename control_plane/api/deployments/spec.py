"""What a deployment says (DESIGN.md, section 9). No field is ignored in silence: one whose effect
does not exist yet is refused unless it says what happens anyway."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from control_plane.api.budgets.schemas import Limits
from control_plane.api.deployments.engines import engine_hint, engine_names
from control_plane.api.deployments.options import check_options, check_torch_options
from control_plane.api.deployments.rollout_spec import RolloutSpec
from control_plane.api.strict import PLAIN_TEXT_PATTERN, StrictBody, nearest
from infra.cron import parse_cron
from infra.names import NAME_PATTERN, NAME_RULE
from infra.performance.hardware import ACCELERATORS
from infra.schedule import LONGEST_S, check_zone

Name = Annotated[str, Field(pattern=NAME_PATTERN, description=NAME_RULE)]
Positive = Annotated[float, Field(gt=0)]


class _NoEffectBeyond:
    """Refuses every value but these; OpenAPI says so too."""

    def __init__(self, *accepted: Any) -> None:
        self._accepted = accepted
        self._said = " or ".join(json.dumps(each) for each in accepted)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "enum": list(self._accepted)}

    def _check(self, value: Any) -> Any:
        if value not in self._accepted:
            raise PydanticCustomError(
                "no_effect_yet",
                "has no effect yet: leave it out, or say {said}",
                {"said": self._said},
            )
        return value


def _known_engine(kind: str) -> str:
    if kind not in engine_names():
        raise PydanticCustomError(
            "unknown_engine", "there is no such engine; {hint}", {"hint": engine_hint(kind)}
        )
    return kind


_DTYPES = {"bf16": "bfloat16", "fp32": "float32"}
_HALF = ("float16", "fp16", "half")


def _called_otherwise(dtype: Any) -> Any:
    if dtype in _HALF:
        raise PydanticCustomError(
            "half",
            "float16 is not supported: models overflow its range; say bfloat16, which takes as "
            "little memory",
        )
    return _DTYPES.get(dtype, dtype) if isinstance(dtype, str) else dtype


Dtype = Annotated[
    Literal["auto", "float32", "bfloat16"],
    BeforeValidator(
        _called_otherwise,
        json_schema_input_type=Literal["auto", "float32", "bfloat16", "fp32", "bf16"],
    ),
]


class EngineSpec(StrictBody):
    kind: Annotated[str, AfterValidator(_known_engine)] = "torch"
    dtype: Dtype = "auto"
    quantization: Literal["auto", "none", "int8"] = "auto"
    """How weights are kept; auto: int8 on a CPU that multiplies it, where `dtype` is auto too."""
    max_context_tokens: Annotated[int, Field(ge=1)] | None = None
    """Null: the model's own limit, at most 4096."""
    tensor_parallel: Annotated[int, _NoEffectBeyond(1)] = 1
    exact: bool = False
    options: Annotated[dict[str, JsonValue], AfterValidator(check_options)] = {}
    """Handed to the engine as they are; a test engine checks its own."""

    @field_validator("options")
    @classmethod
    def _known_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if info.data.get("kind") == "torch":
            check_torch_options(options)
        return options


class SloSpec(StrictBody):
    """What its users may expect: replicas are counted by what one serves within it, and a rollout
    with `rollback_on: slo` is judged by it."""

    ttft_ms: Annotated[float | None, Field(gt=0, le=3_600_000)] = None
    """To the first token."""
    tpot_ms: Annotated[float | None, Field(gt=0, le=3_600_000)] = None
    """For each token after it."""
    attainment: Annotated[float | None, Field(gt=0, lt=1)] = None
    """The share of requests that has to meet it in a rollout; null: 0.99."""

    @model_validator(mode="after")
    def _says_of_what(self) -> SloSpec:
        if self.attainment is not None and self.ttft_ms is None and self.tpot_ms is None:
            raise PydanticCustomError(
                "no_slo",
                "is the share of requests that meet ttft_ms or tpot_ms: say one of these too",
                {"field": "attainment"},
            )
        return self


def _readable(check: Callable[[str], object]) -> Callable[[str], str]:
    def checked(value: str) -> str:
        try:
            check(value)
        except ValueError as error:
            raise PydanticCustomError(
                "unreadable", "cannot be read: {why}", {"why": str(error)}
            ) from error
        return value

    return checked


class ScheduleEntry(StrictBody):
    """A higher minimum at certain times. Replicas are asked for ahead, by as much as nine starts
    of ten take."""

    cron: Annotated[str, Field(max_length=200), AfterValidator(_readable(parse_cron))]
    """When it begins: minute, hour, day of month, month, day of week."""
    duration_s: Annotated[float, Field(gt=0, le=LONGEST_S)]
    min_replicas: Annotated[int, Field(ge=1, le=64)]
    timezone: Annotated[str, Field(max_length=64), AfterValidator(_readable(check_zone))] = "UTC"
    """Of `cron`, an IANA name like Europe/Berlin."""


class ScalingSpec(StrictBody):
    min_replicas: Annotated[int, Field(ge=0, le=64)] = 0
    max_replicas: Annotated[int, Field(ge=1, le=64)] = 1
    idle_s: Annotated[float, Field(gt=0, le=30 * 86_400)] = 300.0
    cold_start_limit_s: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    keep_warm: Literal["none", "machine", "standby", "sleep"] = "none"
    """What stays at zero: nothing; an instance; an instance with a process that has its imports
    done; or a replica that keeps its weights in host memory."""
    schedule: Annotated[list[ScheduleEntry], Field(max_length=64)] = []
    mode: Literal["act", "advise"] = "act"
    """advise: decisions are made and stored, and the number of replicas stays as it is."""

    @model_validator(mode="after")
    def _fits_the_schedule(self) -> ScalingSpec:
        for index, each in enumerate(self.schedule):
            if each.min_replicas > self.max_replicas:
                raise PydanticCustomError(
                    "range",
                    "is {low}, above max_replicas ({high}); raise max_replicas",
                    {
                        "field": f"schedule.{index}.min_replicas",
                        "low": each.min_replicas,
                        "high": self.max_replicas,
                    },
                )
        return self

    @model_validator(mode="after")
    def _is_a_range(self) -> ScalingSpec:
        if self.min_replicas > self.max_replicas:
            raise PydanticCustomError(
                "range",
                "min_replicas ({low}) is above max_replicas ({high}); raise max_replicas",
                {"low": self.min_replicas, "high": self.max_replicas},
            )
        return self


def _known_accelerator(name: str) -> str:
    if name not in ACCELERATORS:
        raise PydanticCustomError(
            "unknown_accelerator",
            "there is no such accelerator; {hint}",
            {"hint": nearest(name, list(ACCELERATORS))},
        )
    return name


Place = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
Choice = Field(max_length=64)


class PlacementSpec(StrictBody):
    """Empty lists allow everything."""

    accelerators: Annotated[list[Annotated[str, AfterValidator(_known_accelerator)]], Choice] = []
    regions: Annotated[list[Place], Choice] = []
    zones: Annotated[list[Place], Choice] = []
    instance_types: Annotated[list[Place], Choice] = []
    spot: Literal["prefer", "only", "never"] = "prefer"
    """prefer: on-demand machines bridge what spot does not give, and are given back."""
    max_usd_per_hour: Positive | None = None
    """For all replicas together. Null: a replica may cost eight times what it costs on the cheapest
    on-demand machine."""


class BudgetSpec(Limits):
    """At the limit there are no more replicas than there were, a tenth beyond it none."""


class SpecFields(StrictBody):
    model: Annotated[str, Field(pattern=PLAIN_TEXT_PATTERN, max_length=200)]
    """Name of a registered model."""
    engine: EngineSpec = EngineSpec()
    slo: SloSpec = SloSpec()
    scaling: ScalingSpec = ScalingSpec()
    placement: PlacementSpec = PlacementSpec()
    budget: BudgetSpec = BudgetSpec()
    rollout: RolloutSpec = RolloutSpec()

    @model_validator(mode="after")
    def _can_be_judged(self) -> SpecFields:
        if self.rollout.rollback_on == "slo" and not (self.slo.ttft_ms or self.slo.tpot_ms):
            raise PydanticCustomError(
                "no_slo",
                "is 'slo', and slo says neither ttft_ms nor tpot_ms: say one of them, or "
                "rollback_on: errors",
                {"field": "rollout.rollback_on"},
            )
        return self


class DeploymentSpec(SpecFields):
    name: Name


class NamedByPath(SpecFields):
    name: Name | None = None
    """May be left out: the path says it."""
