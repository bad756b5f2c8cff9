from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from control_plane.api.strict import PLAIN_TEXT_PATTERN, StrictBody
from control_plane.store.tables import ApiKey
from infra.names import NAME_PATTERN

Scope = Literal["admin", "inference"]


def _each_once(scopes: list[Scope]) -> list[Scope]:
    if len(set(scopes)) != len(scopes):
        raise PydanticCustomError("repeated", "say each scope once")
    return sorted(scopes)


class KeyWanted(StrictBody):
    name: Annotated[str, Field(min_length=1, max_length=63, pattern=PLAIN_TEXT_PATTERN)]
    scopes: Annotated[
        list[Scope],
        Field(min_length=1, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_each_once),
    ] = ["inference"]
    tenant: Annotated[str, Field(pattern=NAME_PATTERN)] = "default"


class KeyShown(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: str
    name: str
    tenant: str
    scopes: list[Scope]
    created_at: float
    revoked_at: float | None


class NewKey(KeyShown):
    secret: str
    """Shown this once; only its hash is kept."""


def show_key(key: ApiKey) -> KeyShown:
    return KeyShown.model_validate(key)
