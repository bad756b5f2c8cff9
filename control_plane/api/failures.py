"""Every exception that can leave an endpoint becomes a problem here."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from redis.exceptions import RedisError
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from control_plane.api.problem import NOT_READY, Problem, invalid_request
from control_plane.http.allow import allowed_methods
from control_plane.http.request_id import request_id
from infra.telemetry import logger

_log = logger("api")
_RETRY = {"retry-after": "1"}


def install(app: FastAPI) -> None:
    for kind in (
        Problem,
        RequestValidationError,
        HTTPException,
        IntegrityError,
        SQLAlchemyError,
        RedisError,
        OSError,
    ):
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    problem = _problem(request, error)
    if problem.status >= 500 and problem.code != NOT_READY:  # said where it changes
        _log.error("request_failed", path=request.url.path, exc_info=error)
    return problem.response(request_id(request.scope))


def _problem(request: Request, error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return invalid_request(error)
        case HTTPException():
            return _http(request, error)
        case IntegrityError():
            detail = "another request changed the same thing just now; read it and try again"
            return Problem(409, "conflict", detail)
        case DataError():
            detail = "a value that no row can hold, e.g. text with a NUL; leave it out"
            return Problem(422, "invalid", detail)
        case SQLAlchemyError():
            detail = "the database does not answer; try again, and see the log of the API"
            return Problem(503, "store-unavailable", detail, headers=_RETRY)
        case RedisError():
            detail = "Redis does not answer; try again, and see the log of the API"
            return Problem(503, "redis-unavailable", detail, headers=_RETRY)
        case _:
            detail = "a connection failed; try again, and see the log of the API"
            return Problem(503, "unavailable", detail, headers=_RETRY)


def _http(request: Request, error: HTTPException) -> Problem:
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 404:
        detail = "no such route; GET /api/v1/openapi.json lists them"
        return Problem(404, "no-route", detail, headers=headers)
    if error.status_code == 405:
        allowed = allowed_methods(request)
        return Problem(
            405, "method", f"this route takes {allowed}", headers={**headers, "allow": allowed}
        )
    return Problem(error.status_code, "http", str(error.detail), headers=headers)


async def answer_unexpected(scope: Scope, receive: Receive, send: Send) -> None:
    problem = Problem(
        500, "internal", "a defect of the API; its log has the details under this request id"
    )
    await problem.response(request_id(scope))(scope, receive, send)


async def refuse_large_body(scope: Scope, receive: Receive, send: Send) -> None:
    problem = Problem(413, "too-large", "the body is larger than TAMER_MAX_BODY_BYTES allows")
    await problem.response(request_id(scope))(scope, receive, send)


async def refuse_late_body(scope: Scope, receive: Receive, send: Send) -> None:
    problem = Problem(
        408,
        "too-late",
        "the body did not arrive within TAMER_RECEIVE_LIMIT_S; send it again",
        headers={"connection": "close"},
    )
    await problem.response(request_id(scope))(scope, receive, send)
