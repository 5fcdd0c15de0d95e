"""Resumable uploads of evidence: what has come so far, and what is done once a file is whole.

Pieces lie in storage as `uploads/<id>/<offset>-<random>`, so that every process of the service goes on where another
left off. A piece holds once the upload's row names it: what was written by a process that died, or by the second of two
that sent the same piece, is named by none and goes with the upload.
"""

from __future__ import annotations

import io
import secrets
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, BinaryIO, cast
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.service import Caller, get_placed
from app.casework.evidence import Sent, admit
from app.casework.evidence_models import Upload
from app.casework.models import Case
from app.foundation.errors import Conflict, NotFound, TooLarge
from app.foundation.storage import Storage, StorageAway
from app.foundation.timetable import Job
from app.settings import Settings

FOLDER = "uploads"
# Of one object; also what a request holds in memory.
PART_BYTES = 8 * 2**20
_READ_BYTES = 2**20


class WrongOffset(Conflict):
    """The piece does not begin where the upload ends"""

    code = "wrong-offset"


def begin(
    session: Session,
    settings: Settings,
    caller: Caller,
    case_id: UUID,
    sent: Sent,
    *,
    length: int,
    metadata_header: str,
) -> Upload:
    """Make room for a file of `length` bytes.

    Raises:
        NotFound, Forbidden, Conflict: as `evidence.admit`.
        TooLarge: it is longer than any evidence may be.
    """
    admit(session, settings, caller, case_id, length)
    if length > settings.max_evidence_bytes:
        most = settings.max_evidence_bytes
        raise TooLarge(f"A file of evidence may be at most {most:,} bytes long.", limit_bytes=most)
    upload = Upload(
        case_id=case_id,
        account_id=caller.account_id,
        kind=sent.kind,
        filename=sent.filename,
        description=sent.description,
        longitude=sent.longitude,
        latitude=sent.latitude,
        metadata_header=metadata_header,
        length=length,
        received=0,
        parts=[],
        expires_at=_expiry(session, settings),
    )
    session.add(upload)
    session.flush()
    return upload


def get_upload(session: Session, caller: Caller, case_id: UUID, upload_id: UUID, *, lock: bool = False) -> Upload:
    """An upload of the caller's own, as it stands.

    Raises:
        NotFound: none, another account's, over, or the case lies outside the caller's jurisdiction.
    """
    case: Case = get_placed(session, caller, Case, case_id)
    statement = select(Upload).where(
        Upload.id == upload_id,
        Upload.case_id == case.id,
        Upload.account_id == caller.account_id,
        Upload.expires_at > func.clock_timestamp(),
    )
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    upload = session.scalar(statement)
    if upload is None:
        raise NotFound("There is no such upload of yours, or it is over; begin again.")
    return upload


def check_offset(received: int, offset: int) -> None:
    """That a piece begins where the upload ends.

    Raises:
        WrongOffset: it does not.
    """
    if received != offset:
        raise WrongOffset(
            f"The upload has {received} bytes; send on from there.",
            headers={"Upload-Offset": str(received)},
            offset=received,
        )


def write_part(storage: Storage, upload_id: UUID, offset: int, data: bytearray) -> dict[str, Any]:
    """Store a piece, or a part of it. It does not hold before `add_parts` names it."""
    key = f"{FOLDER}/{upload_id}/{offset:013d}-{secrets.token_hex(8)}"
    storage.put_named(key, data)
    return {"key": key, "size": len(data)}


def add_parts(
    session: Session, settings: Settings, upload: Upload, offset: int, parts: Sequence[dict[str, Any]]
) -> Upload:
    """Say that parts hold, from `offset` on. The caller's transaction holds the upload locked.

    Raises:
        WrongOffset: others hold there meanwhile.
    """
    check_offset(upload.received, offset)
    upload.parts = [*upload.parts, *parts]
    upload.received += sum(part["size"] for part in parts)
    upload.expires_at = _expiry(session, settings)
    session.flush()
    return upload


def end(session: Session, settings: Settings, upload: Upload, offset: int) -> None:
    """Say that all of a file is here, in the transaction that records it, which holds the upload locked.

    Raises:
        WrongOffset: another piece was taken meanwhile.
    """
    check_offset(upload.received, offset)
    # One UPDATE: of a row that a transaction has changed before, PostgreSQL looks at the foreign keys again and takes
    # a lock on the case. Two uploads to one case would each hold that and wait for the other's at `lock_cases`.
    expires_at = _expiry(session, settings)
    upload.received, upload.parts, upload.expires_at = upload.length, [], expires_at
    session.flush()


def remove_parts(storage: Storage, parts: Iterable[dict[str, Any]]) -> None:
    for part in parts:
        with suppress(FileNotFoundError):
            storage.delete(part["key"])


def remove_files(storage: Storage, upload_id: UUID) -> None:
    """All objects of an upload, those that its row does not name included."""
    for key in list(storage.list(f"{FOLDER}/{upload_id}")):
        with suppress(FileNotFoundError):
            storage.delete(key)


@contextmanager
def open_parts(storage: Storage, parts: Sequence[dict[str, Any]], tail: bytes | bytearray) -> Iterator[BinaryIO]:
    """Parts as one file to read and seek in.

    Args:
        tail: what comes after the last of them.

    Raises:
        StorageAway: at the end, whatever was made of it: they could not be read. A disk that fails, or parts that are
            gone because another request has just made evidence of them, pass for damage with those who look into a
            file, and the upload would be dropped.
    """
    raw = _Parts(storage, parts, tail)
    try:
        with io.BufferedReader(raw, _READ_BYTES) as stream:
            yield cast(BinaryIO, stream)
    finally:
        if raw.trouble is not None:
            raise StorageAway() from raw.trouble


class _Parts(io.RawIOBase):
    """Objects one behind the other, and bytes behind them. One object is open at a time."""

    def __init__(self, storage: Storage, parts: Sequence[dict[str, Any]], tail: bytes | bytearray) -> None:
        self._storage, self._tail = storage, memoryview(tail)
        self._keys = [part["key"] for part in parts]
        self._starts = [0]
        for size in [*(part["size"] for part in parts), len(tail)]:
            self._starts.append(self._starts[-1] + size)
        self._place = 0
        self._opened: tuple[int, BinaryIO] | None = None
        self.trouble: OSError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._starts[-1]}[whence]
        if start + offset < 0:
            raise ValueError("a place before the beginning")
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        if self._place >= self._starts[-1]:
            return 0
        try:
            data = self._read(len(buffer))
        except OSError as error:
            self.trouble = error
            raise
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def _read(self, most: int) -> bytes | memoryview:
        number = bisect_right(self._starts, self._place) - 1
        within = self._place - self._starts[number]
        if number == len(self._keys):
            return self._tail[within : within + most]
        stream = self._open(number)
        if stream.tell() != within:
            stream.seek(within)
        data = stream.read(min(most, self._starts[number + 1] - self._place))
        if not data:
            raise OSError("a part of the upload is shorter than it was")
        return data

    def close(self) -> None:
        self._close_part()
        super().close()

    def _open(self, number: int) -> BinaryIO:
        if self._opened is None or self._opened[0] != number:
            self._close_part()
            self._opened = (number, self._storage.open(self._keys[number]))
        return self._opened[1]

    def _close_part(self) -> None:
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None


def sweep(session: Session, storage: Storage) -> int:
    """Delete the uploads that are over, with their objects, and objects of uploads that there are none of.

    Returns:
        How many uploads were over.
    """
    over = select(Upload).where(Upload.expires_at <= func.clock_timestamp())
    # One that is locked has just been sent to, and lives on.
    uploads = list(session.scalars(over.order_by(Upload.id).with_for_update(skip_locked=True)))
    for upload in uploads:
        remove_files(storage, upload.id)
        session.delete(upload)
    session.flush()
    for name in {key.split("/")[1] for key in storage.list(FOLDER)}:
        # Asked one by one and after the listing: an upload's row is there before its first object.
        with suppress(ValueError):
            upload_id = UUID(name)
            if session.scalar(select(Upload.id).where(Upload.id == upload_id)) is None:
                remove_files(storage, upload_id)
    return len(uploads)


def timetable(settings: Settings) -> list[Job]:
    """The hourly sweep of uploads."""

    def work(session: Session, tick: datetime) -> None:
        sweep(session, Storage(settings.storage))

    return [Job("sweep uploads", "50 * * * *", work)]


def _expiry(session: Session, settings: Settings) -> datetime:
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now + timedelta(hours=settings.upload_hours)
