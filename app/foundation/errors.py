"""Errors as RFC 9457 problem details.

A `Problem` subclass is one stable `type`; its class docstring's first line is the title. The detail is written
for people: it names what to mend and never carries SQL, a file path or another row's data.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:redline:problem:"
_MEMBER = re.compile(r"<\w+\.\w+: ('[^']*')>")


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


class TooManyRequests(Problem):
    """Too many attempts"""

    status, code = 429, "too-many-requests"


class Busy(Problem):
    """Busy"""

    status, code = 503, "busy"


class ProblemResponse(JSONResponse):
    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        # Details repeat what was sent, and JSON may carry half a surrogate pair, which UTF-8 cannot.
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode(errors="backslashreplace")


def problem_response(problem: Problem) -> JSONResponse:
    return ProblemResponse(problem.body(), problem.status, headers=problem.headers)


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
    return ProblemResponse(body, exc.status_code, headers=exc.headers)


def plain(message: str) -> str:
    """What pydantic says, without `Value error, …` and members of enumerations as Python writes them."""
    return _MEMBER.sub(r"\1", message).removeprefix("Value error, ")


def _on_validation(_: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, RequestValidationError)
    errors = [
        {"pointer": "/".join(str(part) for part in error["loc"]), "detail": plain(error["msg"])}
        for error in exc.errors()
    ]
    fields = ", ".join(error["pointer"] for error in errors)
    return problem_response(Invalid(f"Mend these fields: {fields}.", errors=errors))


# What the database says of values that it cannot hold (SQLSTATE); psycopg itself refuses U+0000, without a code.
_UNFIT_TEXT = "text must not contain NUL (the character U+0000)"
_UNFIT_JSON = "a number is infinite or none at all, or text holds half a surrogate pair"
_UNFIT_NUMBER = "a number or a date is out of range"
_UNFIT: dict[str | None, str] = {
    None: _UNFIT_TEXT,
    "22021": _UNFIT_TEXT,
    "22P02": _UNFIT_JSON,
    "22P05": _UNFIT_TEXT,
    "22003": _UNFIT_NUMBER,
    "22008": _UNFIT_NUMBER,
}


def _on_unfit_value(request: Request, exc: Exception) -> JSONResponse:
    """A value that passed the schemas and that no column can hold: the sender's to mend, not a fault of the service."""
    said = isinstance(exc, DataError)
    detail = _UNFIT.get(getattr(exc.orig, "sqlstate", None)) if isinstance(exc, DataError) else _UNFIT_NUMBER
    if detail is None:
        return _on_fault(request, exc)
    # Where no database said so, a fault of the service would look alike: the operators' log has the place.
    log.warning("refused at %s %s: %s", request.method, request.url.path, detail, exc_info=None if said else exc)
    return problem_response(Invalid(f"The request holds a value that cannot be kept: {detail}."))


# What the database says when a request waited or worked too long (SQLSTATE): lock, statement, connection.
_TOO_LONG = ("55P03", "57014")


# The server ends, crashed, or starts.
_ENDING = ("57P01", "57P02", "57P03")


def _is_away(exc: Exception, code: str | None) -> bool:
    """Whether there is no server to speak to; without a code psycopg had no answer at all."""
    return isinstance(exc, OperationalError) and (code is None or code in _ENDING or code.startswith("08"))


def _on_database_trouble(request: Request, exc: Exception) -> JSONResponse:
    """A lock held too long, a query cut off, no connection to be had: to be tried again, nothing was changed."""
    code = getattr(getattr(exc, "orig", None), "sqlstate", None)
    if _is_away(exc, code):
        log.error("the database is away at %s %s: %s", request.method, request.url.path, code or "no connection")
        words = "The database cannot be reached. If this was to change something, send it again under the same key."
        return problem_response(Busy(words, headers={"Retry-After": "10"}))
    if code not in _TOO_LONG and not isinstance(exc, PoolTimeout):
        return _on_fault(request, exc)
    log.warning("busy at %s %s: %s", request.method, request.url.path, code or "no connection")
    words = "Something else holds what this request needs; nothing was changed. Try again in a moment."
    return problem_response(Busy(words, headers={"Retry-After": "5"}))


def _on_fault(request: Request, exc: Exception) -> JSONResponse:
    log.error("unhandled fault at %s %s", request.method, request.url.path, exc_info=exc)
    problem = Problem("The service failed at this request; nothing was changed. The operators' log has the cause.")
    body = problem.body() | {"type": TYPE_PREFIX + "internal", "title": "Internal error", "status": 500}
    return ProblemResponse(body, 500)


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(DataError, _on_unfit_value)
    # Dates and instants at the ends of the calendar, moved by an offset or a day.
    app.add_exception_handler(OverflowError, _on_unfit_value)
    app.add_exception_handler(OperationalError, _on_database_trouble)
    app.add_exception_handler(PoolTimeout, _on_database_trouble)
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
