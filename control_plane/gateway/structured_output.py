"""`response_format` as in OpenAI's API, and `structured_outputs` as in vLLM's: what an answer must
match."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from control_plane.gateway.request_part import RequestPart
from infra.wire import Grammar, GrammarKind

MAX_CHOICES = 1000


class NamedSchema(RequestPart):
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None
    """Accepted: an answer always matches its schema."""


class ResponseFormat(RequestPart):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _schema_where_due(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError(
                "'json_schema' is missing: the type \"json_schema\" needs an object with 'name' "
                "and 'schema'"
            )
        if self.type != "json_schema" and self.json_schema is not None:
            raise ValueError("'json_schema' is only allowed where 'type' is \"json_schema\"")
        return self


def _schema_text(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


_SchemaText = Annotated[
    str, BeforeValidator(_schema_text, json_schema_input_type=dict[str, Any] | str)
]


class StructuredOutputs(RequestPart):
    """vLLM's: exactly one of these."""

    json_: _SchemaText | None = Field(None, alias="json")
    """A JSON schema, or its text."""
    json_object: Literal[True] | None = None
    regex: str | None = Field(None, min_length=1)
    choice: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None, min_length=1, max_length=MAX_CHOICES
    )
    grammar: str | None = Field(None, min_length=1)
    """Lark, in llguidance's variant."""

    @model_validator(mode="after")
    def _one_kind(self) -> StructuredOutputs:
        given = self.model_dump(exclude_none=True)
        if len(given) != 1:
            raise ValueError(
                "'structured_outputs' is one of json, json_object, regex, choice and grammar"
            )
        return self

    @property
    def wanted(self) -> Grammar:
        if self.regex is not None:
            return Grammar(GrammarKind.REGEX, self.regex)
        if self.choice is not None:
            texts = " | ".join(json.dumps(each) for each in self.choice)
            return Grammar(GrammarKind.LARK, f"start: {texts}\n")
        if self.grammar is not None:
            return Grammar(GrammarKind.LARK, self.grammar)
        if self.json_ is None:
            return Grammar(GrammarKind.JSON_OBJECT)
        return Grammar(GrammarKind.JSON_SCHEMA, self.json_)


class StructuredAnswer(BaseModel):
    """The fields of a request that say what its answer must match."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    """Not OpenAI's."""

    @model_validator(mode="after")
    def _one_structure(self) -> StructuredAnswer:
        if self.structured_outputs is not None and self.response_format is not None:
            raise ValueError("give 'response_format' or 'structured_outputs', not both")
        return self

    @property
    def wanted_structure(self) -> tuple[Grammar, str] | None:
        """What the answer must match, and the field that says so."""
        if self.structured_outputs is not None:
            return self.structured_outputs.wanted, "structured_outputs"
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return None
        if wanted.json_schema is None:
            return Grammar(GrammarKind.JSON_OBJECT), "response_format"
        schema = json.dumps(wanted.json_schema.schema_)
        return Grammar(GrammarKind.JSON_SCHEMA, schema), "response_format"
