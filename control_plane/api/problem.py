"""Errors of the API: RFC 9457 problems whose detail says what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.responses import JSONResponse

from control_plane.api.strict import PLAIN_TEXT_PATTERN
from infra.names import NAME_PATTERN, NAME_RULE

_PATTERNS = {
    NAME_PATTERN: NAME_RULE,
    PLAIN_TEXT_PATTERN: "must be text on one line, without control characters",
}
"""What a regular expression means, for people."""
NOT_READY = "not-ready"
"""Code of an answer that is expected while something is away; no defect of the API."""


class FieldError(BaseModel):
    field: str
    message: str


class ProblemBody(BaseModel):
    """`application/problem+json`"""

    type: str
    title: str
    status: int
    detail: str
    request_id: str = ""
    errors: list[FieldError] = []


def problem_schema() -> dict[str, Any]:
    """JSON schema of a problem, whole in itself, for OpenAPI."""
    schema = ProblemBody.model_json_schema()
    schema["properties"]["errors"]["items"] = schema.pop("$defs")["FieldError"]
    return schema


class Problem(Exception):
    """Ends a request with this answer; its transaction is rolled back."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def response(self, request_id: str) -> JSONResponse:
        body = ProblemBody(
            type=f"urn:tamer:problem:{self.code}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            request_id=request_id,
            errors=self.errors,
        )
        return JSONResponse(
            body.model_dump(exclude_defaults=not self.errors),
            status_code=self.status,
            headers=self.headers,
            media_type="application/problem+json",
        )


def not_found(noun: str, name: str, command: str) -> Problem:
    return Problem(
        404, "not-found", f"there is no {noun} '{name}'; '{command}' lists what there is"
    )


def invalid_field(field: str, message: str) -> Problem:
    """A 422 for what the schema alone cannot tell."""
    return Problem(
        422, "invalid", f"{field}: {message}", errors=[FieldError(field=field, message=message)]
    )


def invalid_request(error: RequestValidationError) -> Problem:
    """FastAPI's 422 as a problem, with the names of the fields and never their values."""
    errors = [
        FieldError(field=_field(each["loc"], each.get("ctx")), message=_message(each))
        for each in error.errors()
    ]
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Problem(422, "invalid", f"{first.field}: {first.message}{more}", errors=errors)


def _field(location: Sequence[str | int], context: Mapping[str, Any] | None) -> str:
    parts = [str(part) for part in location[1:]]  # without "body", "query", "path"
    told = (context or {}).get("unknown") or (context or {}).get("field")
    parts += [str(told)] if told else []
    return ".".join(parts) or str(location[0])


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"the body is not JSON: {error.get('ctx', {}).get('error', 'cannot be read')}"
    if error["type"] in ("model_attributes_type", "model_type", "dict_type"):
        return "must be a JSON object, sent with content-type application/json"
    if error["type"] == "missing":
        return "missing, and it is required"
    said = _PATTERNS.get(error.get("ctx", {}).get("pattern", ""))
    text = said or str(error["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
