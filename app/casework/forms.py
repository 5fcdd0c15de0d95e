"""A file of evidence that comes as a form in one request, taken from the wire to storage as it arrives.

As for a piece of a resumable upload, no transaction is open while bytes are awaited, looked into or stored. The caller
and the case are looked at first, and again when the file is written down: what has changed meanwhile counts. The file
is written once, as a draft of the storage, and hashed on its way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
from fastapi import Response
from fastapi.concurrency import contextmanager_in_threadpool
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.access.idempotency import FormPart, digest_form
from app.access.service import Caller
from app.casework import evidence
from app.casework.receiving import patiently
from app.casework.said import read_said
from app.casework.taking import Taking
from app.foundation.errors import BadRequest, Busy, Invalid, TooLarge
from app.foundation.storage import Draft

FILE = "file"
# Of all that is no file, names and headers of the parts included. A description takes 16 KB at the most.
MOST_BESIDE = 2**18
# Bytes of a file that are gathered before they are written, and that a request holds in memory.
GATHERED = 2**20
# Files received at once by one process; others wait, for so many seconds at the most.
AT_ONCE, WAIT_SECONDS = 32, 30.0
# Files looked into and stored at once: pictures are read under Python's one lock, and the disk takes turns, too.
_FINISHING = anyio.CapacityLimiter(6)
_RECEIVING = anyio.Semaphore(AT_ONCE)
_NAME_OF_FILE = "One file is taken, in the field `file`; send others in requests of their own."


@dataclass
class _Part:
    """One part of a form, as far as it was read."""

    head: bytearray = field(default_factory=bytearray)
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    filename: str | None = None
    value: bytearray = field(default_factory=bytearray)


class _Form:
    """Reads a form: `feed` takes bytes; `gathered` is what came of the file since it was last emptied."""

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise Invalid("Send a form (multipart/form-data) with the fields `kind` and `file`.")
        self.parts: list[_Part] = []
        self.gathered = bytearray()
        self._beside, self._is_whole = 0, False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_to_head,
                    "on_header_value": self._add_value,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise BadRequest("The form's boundary is none.") from None

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise BadRequest("The form cannot be read: it is not of the form multipart/form-data (RFC 7578).") from None

    def finish(self) -> None:
        # The parser itself takes a form without an end for a whole one.
        if not self._is_whole:
            raise BadRequest("The form is cut off: its end is missing.")

    @property
    def file(self) -> _Part | None:
        return next((part for part in self.parts if part.filename is not None), None)

    def fields(self) -> dict[str, str]:
        """Names and values of all but the file; of two fields of one name the last one counts."""
        try:
            return {part.name: part.value.decode() for part in self.parts if part.filename is None}
        except UnicodeDecodeError:
            raise Invalid("The form's fields must be UTF-8.") from None

    def listed(self, draft: Draft) -> list[FormPart]:
        """The parts, to be told from those of another form."""
        sha256 = bytes.fromhex(draft.blob.sha256)
        return [
            (part.name, part.value.decode(), None) if part.filename is None else (part.name, part.filename, sha256)
            for part in self.parts
        ]

    def _count(self, size: int) -> None:
        self._beside += size
        if self._beside > MOST_BESIDE:
            raise TooLarge(f"All fields but the file may be {MOST_BESIDE:,} bytes long.", limit_bytes=MOST_BESIDE)

    def _begin_part(self) -> None:
        # More than its bytes, since an object is made of it.
        self._count(256)
        self.parts.append(_Part())

    def _add_to_head(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self.parts[-1].head += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        part = self.parts[-1]
        name = bytes(part.head).lower()
        part.headers[name] = part.headers.get(name, b"") + data[start:end]
        part.head.clear()
        part.head += name

    def _end_headers(self) -> None:
        part = self.parts[-1]
        _, options = parse_options_header(part.headers.get(b"content-disposition"))
        if b"name" not in options:
            raise BadRequest("A part of the form has no name.")
        part.name = _decoded(options[b"name"])
        if b"filename" in options:
            if part.name != FILE or self.file is not None:
                raise Invalid(_NAME_OF_FILE)
            part.filename = _decoded(options[b"filename"])

    def _end(self) -> None:
        self._is_whole = True

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        part = self.parts[-1]
        if part.filename is not None:
            self.gathered += data[start:end]
            return
        self._count(end - start)
        part.value += data[start:end]


def _decoded(name: bytes) -> str:
    """As programs write names in a form: UTF-8, and some old ones otherwise."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


@dataclass
class FormFile(Taking):
    """One POST of a form with a file."""

    # As they came, once they are here.
    parts: list[FormPart] = field(default_factory=list)

    def digest(self, caller: Caller) -> bytes:
        return digest_form(self.request, caller, self.parts)

    async def take(self) -> Response:
        """Take the form, and make evidence of its file.

        Raises:
            Unauthenticated, Forbidden, NotFound, Conflict: as `evidence.admit`, before the form is read and after it.
            TooLarge, Invalid, BadRequest: the form or the file.
            Busy: too much is going on, or the scanner fails.
        """
        is_answered = await run_in_threadpool(self._look)
        limit = min(self.settings.max_upload_bytes, self.settings.max_evidence_bytes)
        async with _place(), contextmanager_in_threadpool(self.storage.draft(limit)) as draft:
            form = await self._receive(draft)
            return await anyio.to_thread.run_sync(self._finish, form, draft, is_answered, limiter=_FINISHING)

    def _look(self) -> bool:
        """Whether a request with this key was answered before; what came of that may forbid it now."""
        with self.enter() as (session, caller):
            named = self.named(session, caller)
            if named is not None and named.is_answered():
                return True
            # How long the file is, is not known yet.
            evidence.admit(session, self.settings, caller, self.case_id, 0)
            return False

    async def _receive(self, draft: Draft) -> _Form:
        form = _Form(self.request.headers.get("content-type", ""))
        try:
            async for chunk in patiently(self.request.stream()):
                form.feed(chunk)
                if len(form.gathered) >= GATHERED:
                    gathered, form.gathered = form.gathered, bytearray()
                    await run_in_threadpool(draft.write, gathered)
        except (ClientDisconnect, TimeoutError):
            raise BadRequest("The request broke off before its end.") from None
        form.finish()
        return form

    def _finish(self, form: _Form, draft: Draft, is_answered: bool) -> Response:
        draft.write(form.gathered)
        sent = _read(form)
        self.parts = form.listed(draft)
        if is_answered and (before := self.recall()):
            return before
        return self.record(sent, evidence.keep_draft(self.settings, draft, sent.kind))


def _read(form: _Form) -> evidence.Sent:
    if form.file is None:
        raise Invalid("Mend these fields: body/file.", errors=[{"pointer": "body/file", "detail": _NAME_OF_FILE}])
    return read_said(form.fields() | {"filename": form.file.filename or ""}, "body")


@asynccontextmanager
async def _place() -> AsyncIterator[None]:
    """One of the places for files that are being received.

    Raises:
        Busy: none became free.
    """
    with anyio.move_on_after(WAIT_SECONDS) as waiting:
        await _RECEIVING.acquire()
    if waiting.cancelled_caught:
        raise Busy("Many files are being sent just now; try again in a moment.", headers={"Retry-After": "10"})
    try:
        yield
    finally:
        _RECEIVING.release()
