"""Idempotency keys: a write that its sender names is done once, however often it is sent.

The header and its answers follow draft-ietf-httpapi-idempotency-key-header. A router that takes keys has
`route_class=IdempotentRoute`; its endpoints need to know nothing of them. The answer is written in the transaction of
the work, so there is never one without the other, and only when the work is kept (2xx): what was refused may be tried
again under the same key. A key is looked at after everything else that stands before the work: token, scopes, the form
of the request.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy import delete, event, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from app.access.models import IdempotencyKey
from app.access.routes import CallerDep
from app.access.service import Caller
from app.foundation.database import SessionDep
from app.foundation.errors import Problem, problem_responses
from app.foundation.timetable import Job

KEPT = timedelta(hours=24)
UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
REPLAYED = "Idempotency-Replayed"
_PARAMETER = "idempotency_key_"
_CHUNK = 2**20
# SQLSTATE lock_not_available: the request before it holds the key for longer than `lock_timeout`.
_LOCK_TIMEOUT = "55P03"


class StillInProgress(Problem):
    """A request with this Idempotency-Key is still being worked on"""

    status, code = 409, "still-in-progress"


class KeyReused(Problem):
    """This Idempotency-Key was used for another request"""

    status, code = 422, "idempotency-key-reused"


@dataclass(frozen=True)
class Named:
    """A request that its sender named, in the transaction of its work."""

    session: Session
    account_id: UUID
    # Method and path.
    route: str
    key: str
    digest: bytes

    def recall(self) -> Response | None:
        """What was answered to this request before, byte by byte; None: it was not, or more than `KEPT` ago.

        Waits for one that is being worked on, and lets no other begin before this transaction ends.

        Raises:
            StillInProgress: it took longer than a request may wait for a lock.
            KeyReused: another request has this key.
        """
        name = hashlib.sha256("\n".join((str(self.account_id), self.route, self.key)).encode()).digest()
        try:
            # The key's row is there only once the work is done; a lock on its name holds the others off until then.
            number = int.from_bytes(name[:8], "big", signed=True)
            self.session.execute(text("select pg_advisory_xact_lock(:number)"), {"number": number})
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_TIMEOUT:
                raise
            words = "The first request with this Idempotency-Key is still in progress; send it again in a moment."
            raise StillInProgress(words, headers={"Retry-After": "5"}) from None
        # A statement of its own, which sees what was committed while the lock was waited for.
        row = self._row()
        if row is None:
            return None
        if row.request_digest != self.digest:
            raise KeyReused(
                "This Idempotency-Key named a request with another body, query, If-Match or role of the account; "
                "take a new key for a new request."
            )
        return Response(row.body, row.status, headers=row.headers | {REPLAYED: "true"})

    def is_answered(self) -> bool:
        """Whether some request with this key was, without waiting for one that is being worked on."""
        return self._row() is not None

    def _row(self) -> IdempotencyKey | None:
        return self.session.scalar(
            select(IdempotencyKey).where(
                IdempotencyKey.account_id == self.account_id,
                IdempotencyKey.route == self.route,
                IdempotencyKey.key == self.key,
                IdempotencyKey.created_at > func.clock_timestamp() - KEPT,
            )
        )

    def remember(self, response: Response) -> None:
        """Keep an answer for whoever sends the request again; what came of an expired key gives way to it."""
        # As the routes have it, a streamed answer has no body to keep, and fails here before its work is kept.
        values = {
            "request_digest": self.digest,
            "status": response.status_code,
            "headers": dict(response.headers),
            "body": bytes(response.body),
            "created_at": func.clock_timestamp(),
        }
        statement = insert(IdempotencyKey).values(account_id=self.account_id, route=self.route, key=self.key, **values)
        self.session.execute(
            statement.on_conflict_do_update(
                index_elements=[IdempotencyKey.account_id, IdempotencyKey.route, IdempotencyKey.key], set_=values
            )
        )


class IdempotentRoute(APIRoute):
    """A route whose unsafe methods take the header `Idempotency-Key`."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if UNSAFE & set(options.get("methods") or ()):
            endpoint = _recalling(endpoint)
            options["responses"] = problem_responses(409, 422) | (options.get("responses") or {})
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def remembering(request: Request) -> Response:
            response = await handler(request)
            named: Named | None = getattr(request.state, "named", None)
            # The transaction of the work is still open: the commit follows, then the answer is sent.
            if named is not None and REPLAYED not in response.headers and 200 <= response.status_code < 300:
                # Written by the thread that commits. Another one may be long in coming, while the work's locks are
                # held: those who wait for them have the threads.
                event.listen(named.session, "before_commit", lambda _: named.remember(response), once=True)
            return response

        return remembering


KeyHeader = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern="^[ -~]+$",
        description=(
            "A name of this request, new for each, such as a UUID. Sent again within 24 hours, it is not done "
            "again but answered as before, with `Idempotency-Replayed: true`"
        ),
        examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
    ),
]


def name_request(session: Session, caller: Caller, request: Request, key: str, digest: bytes) -> Named:
    """A request by its key, in the transaction of its work.

    For an endpoint that opens its transactions itself: `recall` first in the one that does the work, `remember` last.
    """
    return Named(session, caller.account_id, f"{request.method} {request.url.path}", key, digest)


async def _named(
    request: Request, session: SessionDep, caller: CallerDep, idempotency_key: KeyHeader = None
) -> Named | None:
    if idempotency_key is None:
        return None
    named = name_request(session, caller, request, idempotency_key, await _digest(request, caller))
    request.state.named = named
    return named


def _recalling(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint, run unless its request was answered before."""
    # It waits for a lock, and so must run in a thread, as every endpoint that uses the database does.
    assert not inspect.iscoroutinefunction(endpoint), endpoint

    def work(values: dict[str, Any]) -> Any:
        named: Named | None = values.pop(_PARAMETER)
        return (named.recall() if named else None) or endpoint(**values)

    @functools.wraps(endpoint)
    async def recalling(**values: Any) -> Any:
        # So that the answer is put into words here: what comes from a thread goes to another one for that, see above.
        return await run_in_threadpool(work, values)

    # Dependencies are looked at in the order of the parameters: this is the last, after the route's own.
    last = inspect.Parameter(
        _PARAMETER,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[Named | None, Depends(_named, scope="function")],
    )
    signature = inspect.signature(endpoint)
    signature = signature.replace(parameters=[*signature.parameters.values(), last])
    # What `inspect.signature`, and so FastAPI, looks at first (PEP 362); typeshed has no such attribute of a function.
    recalling.__signature__ = signature  # type: ignore[attr-defined]
    return recalling


async def _digest(request: Request, caller: Caller) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        # They are read already, files lie on disk.
        parts: list[FormPart] = []
        for name, value in (await request.form()).multi_items():
            if isinstance(value, UploadFile):
                parts.append((name, value.filename or "", await run_in_threadpool(_file_digest, value)))
            else:
                parts.append((name, value, None))
        return digest_form(request, caller, parts)
    digest = _begin_digest(request, caller)
    _feed(digest, await request.body())
    return bytes(digest.digest())


# A field's name and value; or a file's field, its name, and its SHA-256.
FormPart = tuple[str, str, bytes | None]


def digest_form(request: Request, caller: Caller, parts: Iterable[FormPart]) -> bytes:
    """SHA-256 of a form by its parts, since what separates them is drawn anew each time."""
    digest = _begin_digest(request, caller)
    for name, value, file_digest in parts:
        _feed(digest, name.encode(errors="surrogatepass"))
        _feed(digest, value.encode(errors="surrogatepass"))
        if file_digest is not None:
            _feed(digest, file_digest)
    return bytes(digest.digest())


def _begin_digest(request: Request, caller: Caller) -> Any:
    """SHA-256 of what is asked and as whom: an account of another role or unit does not ask the same."""
    digest = hashlib.sha256()
    match = request.headers.get("if-match", "")
    for part in (request.method, request.url.path, request.url.query, match, caller.role, str(caller.unit_id)):
        _feed(digest, part.encode())
    return digest


def _feed(digest: Any, part: bytes) -> None:
    # With its length, so that no two requests run together to the same bytes.
    digest.update(len(part).to_bytes(8, "big") + part)


def _file_digest(upload: UploadFile) -> bytes:
    upload.file.seek(0)
    digest = hashlib.sha256()
    while chunk := upload.file.read(_CHUNK):
        digest.update(chunk)
    upload.file.seek(0)
    return digest.digest()


def sweep(session: Session) -> int:
    """Delete the keys that are over; how many there were."""
    over = delete(IdempotencyKey).where(IdempotencyKey.created_at <= func.clock_timestamp() - KEPT)
    return len(session.scalars(over.returning(IdempotencyKey.key)).all())


def timetable() -> list[Job]:
    """The hourly sweep of keys."""

    def work(session: Session, tick: datetime) -> None:
        sweep(session)

    return [Job("sweep idempotency keys", "35 * * * *", work)]
