"""Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from control_plane.http.allow import allowed_methods


class ApiError(Exception):
    """An answer other than 2xx. `retry_after_s` says when trying again may help."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "",
        retry_after_s: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind or ("server_error" if status >= 500 else "invalid_request_error")
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["retry-after"] = str(max(1, round(retry_after_s)))

    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), self.status, self.headers)


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    return ApiError(400, message, param=param, code=code)


def unsupported(param: str) -> ApiError:
    return ApiError(
        400,
        f"'{param}' is not supported yet; leave it out.",
        param=param,
        code="unsupported_parameter",
    )


def model_not_found(name: str) -> ApiError:
    return ApiError(
        404,
        f"The model '{name}' does not exist; GET /v1/models lists those that do.",
        param="model",
        code="model_not_found",
    )


def overloaded(message: str, retry_after_s: float) -> ApiError:
    return ApiError(
        429, message, kind="requests", code="rate_limit_exceeded", retry_after_s=retry_after_s
    )


def over_budget(message: str, retry_after_s: float) -> ApiError:
    """As OpenAI says that credits are used up; its clients are told not to try at once."""
    return ApiError(
        429,
        message,
        kind="insufficient_quota",
        code="budget_spent",
        retry_after_s=retry_after_s,
        headers={"x-should-retry": "false"},
    )


def unavailable(message: str, code: str, retry_after_s: float) -> ApiError:
    return ApiError(503, message, code=code, retry_after_s=retry_after_s)


async def refuse_too_large(scope: Scope, receive: Receive, send: Send) -> None:
    """What `control_plane.http.body_limit` answers."""
    error = ApiError(413, "The request body is too large; send less.", code="request_too_large")
    await error.response()(scope, receive, send)


async def refuse_too_late(scope: Scope, receive: Receive, send: Send) -> None:
    """What `control_plane.http.body_limit` answers where a body does not arrive."""
    error = ApiError(
        408,
        "The request body did not arrive in time; send it again.",
        code="request_timeout",
        headers={"connection": "close"},
    )
    await error.response()(scope, receive, send)


async def answer_unexpected(scope: Scope, receive: Receive, send: Send) -> None:
    """What `control_plane.http.unexpected` answers."""
    error = ApiError(
        500,
        "The server failed to process the request; its log has the x-request-id.",
        code="internal_error",
    )
    await error.response()(scope, receive, send)


async def answer_api_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return error.response()


async def answer_invalid(_: Request, error: Exception) -> JSONResponse:
    """What FastAPI refuses by itself: parameters of the query and of headers."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    param = str(first["loc"][-1])
    message = f"Invalid value for '{param}': {first['msg']}."
    return bad_request(message, param, "invalid_value").response()


async def answer_unknown_route(request: Request, error: Exception) -> JSONResponse:
    """404 and 405 of the router itself."""
    status = int(getattr(error, "status_code", 404))
    said = "Unknown request URL" if status == 404 else str(getattr(error, "detail", "Refused"))
    return ApiError(
        status,
        f"{said}: {request.method} {request.url.path}",
        code="unknown_url" if status == 404 else None,
        headers={"allow": allowed_methods(request)} if status == 405 else None,
    ).response()
