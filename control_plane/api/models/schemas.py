from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
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


class ModelImport(StrictBody):
    name: Annotated[str, Field(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$", max_length=63)]
    source: Annotated[str, Field(max_length=4096), AfterValidator(_checked)]


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
    created_at: float
    updated_at: float


class ModelDetail(ModelShown):
    used_by: list[str]
    """Deployments; it cannot be deleted while there are any."""


class Collection(StrictBody):
    dry_run: bool = False
    """Only list what would be removed: `progress.found` of the operation."""


class ImportStarted(BaseModel):
    model: ModelShown
    operation: OperationShown


def show_model(model: Model) -> ModelShown:
    return ModelShown.model_validate(model)


def show_detail(model: Model, used_by: list[str]) -> ModelDetail:
    return ModelDetail(**show_model(model).model_dump(), used_by=used_by)
