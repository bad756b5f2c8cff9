from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from control_plane.api.models.source import check_source
from control_plane.api.operations.schemas import OperationShown
from control_plane.api.strict import StrictBody
from control_plane.store.tables import Model


def _checked(source: str) -> str:
    try:
        return check_source(source)
    except ValueError as error:
        raise PydanticCustomError("source", "{hint}", {"hint": str(error)}) from None


Name = Annotated[str, Field(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$", max_length=63)]


_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32"}


def _by_its_own_name(dtype: Any) -> Any:
    return _DTYPES.get(dtype, dtype) if isinstance(dtype, str) else dtype


class Packing(StrictBody):
    """How weights are kept; what is left out stays as the source has it."""

    quantization: Literal["none", "int8"] | None = None
    """int8: the matrices of products, with a scale for each 64 inputs."""
    dtype: Annotated[
        Literal["bfloat16", "float16", "float32"] | None, BeforeValidator(_by_its_own_name)
    ] = None
    """Of all that is not quantised."""
    slices: Annotated[int, Field(ge=1, le=64)] | None = None
    """Parts of the matrices that tensor parallelism cuts along their inputs: any parallel size that
    divides it reads whole parts."""

    def asked(self) -> dict[str, Any]:
        """What was not left out."""
        return self.model_dump(include=set(Packing.model_fields), exclude_none=True)


class ModelImport(Packing):
    name: Name
    source: Annotated[str, Field(max_length=4096), AfterValidator(_checked)]


class ModelPack(Packing):
    name: Name | None = None
    """Of the model that is made; left out, it takes this one's place."""


class ModelShown(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: str
    name: str
    source: str
    state: Literal["importing", "ready", "deleted"]
    error: str
    digest: str
    uri: str
    architecture: str
    size_bytes: int
    parameters: int
    max_context_tokens: int
    vocabulary_size: int
    weights_root: str
    """What names its weights. Empty: it is no package, and loads slowly; pack it."""
    quantization: str
    packing: dict[str, Any]
    """How its weights were asked to be kept."""
    created_at: float
    updated_at: float


class ModelDetail(ModelShown):
    used_by: list[str]
    """Deployments; it cannot be deleted while there are any."""


class Collection(StrictBody):
    dry_run: bool = False
    """Only list what would be removed: `progress.found` of the operation."""


class ImportStarted(BaseModel):
    """Of an import or of a pack."""

    model: ModelShown
    operation: OperationShown


def show_model(model: Model) -> ModelShown:
    return ModelShown.model_validate(model)


def show_detail(model: Model, used_by: list[str]) -> ModelDetail:
    return ModelDetail(**show_model(model).model_dump(), used_by=used_by)
