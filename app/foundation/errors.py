"""Errors as RFC 9457 problem details.

A `Problem` subclass is one stable `type`; its class docstring's first line is the title. The detail is written
for people: it names what to mend and never carries SQL, a file path or another row's data.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:redline:problem:"


class Problem(Exception):
    """Request failed"""

    status: int = 400
    code: str = "bad-request"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    @property
    def title(self) -> str:
        return (self.__doc__ or "Request failed").strip().splitlines()[0]

    def body(self) -> dict[str, Any]:
        return {
            "type": TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }


class BadRequest(Problem):
    """The request cannot be understood"""


class Unauthenticated(Problem):
    """Sign in first"""

    status, code = 401, "unauthenticated"

    def __init__(self, detail: str = "A valid bearer token is needed.", **members: Any) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"}, **members)


class Forbidden(Problem):
    """Not allowed for this account"""

    status, code = 403, "forbidden"


class NotFound(Problem):
    """Not found"""

    status, code = 404, "not-found"

    def __init__(self, detail: str = "There is no such thing here, or it is not yours to see.", **members: Any) -> None:
        super().__init__(detail, **members)


class Conflict(Problem):
    """Not possible in the present state"""

    status, code = 409, "conflict"


class StaleVersion(Problem):
    """Changed by someone else meanwhile"""

    status, code = 412, "stale-version"


class TooLarge(Problem):
    """Too large"""

    status, code = 413, "too-large"


class Invalid(Problem):
    """The content is not valid"""

    status, code = 422, "invalid"


class PreconditionRequired(Problem):
    """If-Match is needed"""

    status, code = 428, "precondition-required"


def problem_response(problem: Problem) -> JSONResponse:
    return JSONResponse(problem.body(), problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def _on_problem(_: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, Problem)
    return problem_response(exc)


def _on_http(_: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, HTTPException)
    known = {kind.status: kind for kind in (Unauthenticated, Forbidden, NotFound, TooLarge)}.get(exc.status_code)
    if known is not None:
        return problem_response(known(str(exc.detail)))
    phrase = HTTPStatus(exc.status_code).phrase
    problem = Problem(str(exc.detail), headers=exc.headers)
    body = problem.body() | {
        "type": TYPE_PREFIX + phrase.lower().replace(" ", "-"),
        "title": phrase,
        "status": exc.status_code,
    }
    return JSONResponse(body, exc.status_code, headers=exc.headers, media_type=MEDIA_TYPE)


def _on_validation(_: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, RequestValidationError)
    errors = [
        {"pointer": "/".join(str(part) for part in error["loc"]), "detail": error["msg"]} for error in exc.errors()
    ]
    fields = ", ".join(error["pointer"] for error in errors)
    return problem_response(Invalid(f"Mend these fields: {fields}.", errors=errors))


def _on_fault(request: Request, exc: Exception) -> JSONResponse:
    log.error("unhandled fault at %s %s", request.method, request.url.path, exc_info=exc)
    problem = Problem("The service failed at this request; nothing was changed. The operators' log has the cause.")
    body = problem.body() | {"type": TYPE_PREFIX + "internal", "title": "Internal error", "status": 500}
    return JSONResponse(body, 500, media_type=MEDIA_TYPE)


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(Exception, _on_fault)


PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "examples": [TYPE_PREFIX + "not-found"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: each status as problem+json."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}},
        }
        for status in statuses
    }
