"""One piece of a resumable upload, taken from the wire to storage as it arrives.

No transaction is open while bytes are awaited: a sender may be slow, and connections are few. Each part of 8 MiB holds
as soon as it is stored, so that a broken connection costs no more than the last of them; with a checksum a piece holds
as a whole or not at all. The end of a file is written down together with the evidence that it makes: whoever dies in
between leaves the upload as it was before, and its sender sends the last part again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import anyio
import anyio.to_thread
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.access.routes import signed_in
from app.casework import evidence, kept_files, uploads
from app.foundation.errors import BadRequest, Busy, Conflict, Invalid, Problem, TooLarge
from app.foundation.storage import Storage
from app.foundation.time import legal_day, utc_now
from app.settings import Settings

ALGORITHMS: dict[str, Callable[[], Any]] = {"sha1": hashlib.sha1, "sha256": hashlib.sha256}
# Pieces taken at once by one process, each with `PART_BYTES` in memory at the most, and how long one may be silent.
AT_ONCE, SILENT_SECONDS = 32, 60.0
# Files that are put together at once: it takes long, and the other threads answer everybody else.
_FINISHING = anyio.CapacityLimiter(4)


class ChecksumMismatch(Problem):
    """The piece is not what its checksum says"""

    # The tus protocol's own.
    status, code = 460, "checksum-mismatch"


@dataclass
class _Here:
    """How many pieces this process takes just now."""

    pieces: int = 0


_here = _Here()


@dataclass(frozen=True)
class Progress:
    """Where an upload stands after a piece; `evidence_id` once it is whole."""

    offset: int
    expires_at: datetime
    evidence_id: UUID | None = None


def read_checksum(header: str | None) -> tuple[Any, bytes] | None:
    """A digest to be fed, and what it must give, of the header `Upload-Checksum`.

    Raises:
        BadRequest: an algorithm that is not known, or no Base64.
    """
    if header is None:
        return None
    name, _, value = header.strip().partition(" ")
    if name not in ALGORITHMS:
        raise BadRequest(f"Upload-Checksum takes {' and '.join(ALGORITHMS)}.")
    try:
        return ALGORITHMS[name](), base64.b64decode(value, validate=True)
    except binascii.Error:
        raise BadRequest("Upload-Checksum is an algorithm's name, a space, and the digest in Base64.") from None


@dataclass
class Piece:
    """One PATCH of an upload."""

    request: Request
    token: str | None
    case_id: UUID
    upload_id: UUID
    # Where it begins; moves on with what holds.
    offset: int = 0
    checksum: tuple[Any, bytes] | None = None
    # Stored, and not yet named by the upload's row.
    pending: list[dict[str, Any]] = field(default_factory=list)
    # The end of the file, in memory: the whole of it is stored in a moment.
    tail: bytearray = field(default_factory=bytearray)
    length: int = 0
    # As it stood when the piece began.
    stands: Progress = field(init=False)

    @property
    def settings(self) -> Settings:
        settings: Settings = self.request.app.state.settings
        return settings

    @property
    def storage(self) -> Storage:
        storage: Storage = self.request.app.state.storage
        return storage

    @property
    def end(self) -> int:
        """Where what is here ends."""
        return self.offset + sum(int(part["size"]) for part in self.pending) + len(self.tail)

    async def look(self) -> None:
        """See that there is such an upload.

        Raises:
            Unauthenticated, Forbidden: who asks.
            NotFound: as `uploads.get_upload`.
        """
        await run_in_threadpool(self._look)

    async def take(self, offset: int, checksum: tuple[Any, bytes] | None) -> Progress:
        """Take the piece, and the whole file when this is its end.

        Args:
            offset: where it begins.
            checksum: as `read_checksum` gives it.

        Raises:
            WrongOffset: the upload does not end there.
            TooLarge: more bytes come than were announced.
            ChecksumMismatch: the piece is dropped.
            Invalid, Conflict, Forbidden: the file is whole and refused; the upload is over.
            Busy: too much is going on; what came before this piece holds.
        """
        self.offset, self.checksum = offset, checksum
        uploads.check_offset(self.stands.offset, offset)
        if self.stands.offset == self.length:
            return self.stands
        if _here.pieces >= AT_ONCE:
            raise Busy("Many files are being sent just now; try again in a moment.", headers={"Retry-After": "10"})
        _here.pieces += 1
        try:
            is_whole = await self._receive()
            return await self._settle(is_whole)
        finally:
            _here.pieces -= 1
            if self.pending:
                await run_in_threadpool(uploads.remove_parts, self.storage, self.pending)

    def _look(self) -> None:
        with signed_in(self.request, self.token) as (session, caller):
            upload = uploads.get_upload(session, caller, self.case_id, self.upload_id)
            self.length = upload.length
            self.stands = Progress(upload.received, upload.expires_at, upload.evidence_id)

    async def _receive(self) -> bool:
        """Store what comes; False when it broke off before its end."""
        buffer, came = bytearray(), 0
        digest = self.checksum[0] if self.checksum else None
        room = self.length - self.offset
        try:
            async for chunk in patiently(self.request.stream()):
                came += len(chunk)
                if came > room:
                    raise TooLarge("More bytes came than Upload-Length had announced.", limit_bytes=self.length)
                if digest is not None:
                    digest.update(chunk)
                buffer += chunk
                if len(buffer) >= uploads.PART_BYTES:
                    await self._store(buffer)
                    buffer = bytearray()
            is_whole = True
        except (ClientDisconnect, TimeoutError):
            is_whole = False
        if buffer and (is_whole or digest is None):
            await self._store(buffer)
        return is_whole

    async def _store(self, buffer: bytearray) -> None:
        if self.end + len(buffer) == self.length:
            self.tail = buffer
            return
        self.pending.append(await run_in_threadpool(uploads.write_part, self.storage, self.upload_id, self.end, buffer))
        if self.checksum is None:
            await run_in_threadpool(self._add)

    async def _settle(self, is_whole: bool) -> Progress:
        if self.checksum is not None:
            if not is_whole:
                return self.stands
            if self.checksum[0].digest() != self.checksum[1]:
                raise ChecksumMismatch("The piece was damaged on its way; it is dropped. Send it again.")
        if self.end == self.length:
            return await anyio.to_thread.run_sync(self._finish, limiter=_FINISHING)
        return await run_in_threadpool(self._add)

    def _add(self) -> Progress:
        with signed_in(self.request, self.token) as (session, caller):
            upload = uploads.get_upload(session, caller, self.case_id, self.upload_id, lock=True)
            uploads.add_parts(session, self.settings, upload, self.offset, self.pending)
            progress = Progress(upload.received, upload.expires_at)
        self.offset, self.pending = progress.offset, []
        return progress

    def _finish(self) -> Progress:
        """Make evidence of the whole file, in one transaction with the upload's end."""
        with signed_in(self.request, self.token) as (session, caller):
            evidence.admit(session, self.settings, caller, self.case_id, self.length, but=self.upload_id)
            upload = uploads.get_upload(session, caller, self.case_id, self.upload_id)
            uploads.check_offset(upload.received, self.offset)
            parts = [*upload.parts, *self.pending]
            sent = evidence.Sent(upload.filename, upload.kind, upload.description, upload.longitude, upload.latitude)
        try:
            with uploads.open_parts(self.storage, parts, self.tail) as stream:
                kept = evidence.keep(self.settings, self.storage, stream, sent.kind, limit=self.length)
            with kept_files.unless_recorded(self.request.app.state.database, self.storage, kept.blob):
                progress = self._record(sent, kept)
        except uploads.WrongOffset:
            raise
        except (Conflict, Invalid, TooLarge):
            # It will not become better by being sent again.
            self._drop()
            raise
        self.pending = []
        uploads.remove_files(self.storage, self.upload_id)
        return progress

    def _record(self, sent: evidence.Sent, kept: evidence.Kept) -> Progress:
        with signed_in(self.request, self.token) as (session, caller):
            # The upload before the case: nothing else holds both.
            upload = uploads.get_upload(session, caller, self.case_id, self.upload_id, lock=True)
            uploads.end(session, self.settings, upload, self.offset)
            added = evidence.record(
                session,
                self.settings,
                self.storage,
                caller,
                self.case_id,
                sent,
                kept,
                today=legal_day(utc_now()),
                upload_id=upload.id,
            )
            upload.evidence_id = added.id
            return Progress(upload.received, upload.expires_at, added.id)

    def _drop(self) -> None:
        with signed_in(self.request, self.token) as (session, caller):
            session.delete(uploads.get_upload(session, caller, self.case_id, self.upload_id, lock=True))
        self.pending = []
        uploads.remove_files(self.storage, self.upload_id)


async def patiently(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A stream that may be silent for a while only.

    Raises:
        TimeoutError: nothing came for `SILENT_SECONDS`.
    """
    chunks = aiter(stream)
    while True:
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        yield chunk
