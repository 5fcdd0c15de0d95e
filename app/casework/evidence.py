"""Evidence: files that prove something about a case, kept by their content.

Every file is taken in three steps, whichever way it comes: `admit` looks at the caller and the case, `keep` (or, of a
draft, `keep_draft`) at the file, which it stores, and `record` writes evidence and event in one transaction. Only the
last needs locks. No transaction is open at the second: scanners and storage take their time, and connections are few.
What was kept and then not recorded is removed (`kept_files.unless_recorded`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import PurePosixPath
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.models import Role
from app.access.service import Caller, get_placed
from app.casework import contents, kept_files, photos
from app.casework.evidence_checks import days_off, earliest_day, measure_distance_m, warn
from app.casework.evidence_models import Upload
from app.casework.file_facts import FileFacts
from app.casework.ledger import append
from app.casework.lifecycle import Actor, CaseState
from app.casework.models import Case, Evidence, EvidenceKind
from app.casework.participation import actors_of
from app.casework.scanning import scan
from app.casework.transitions import lock_cases
from app.foundation.errors import Conflict, Forbidden, NotFound
from app.foundation.identity import new_id
from app.foundation.storage import Draft, Storage, StoredBlob, blob_key, check_size
from app.foundation.time import legal_day
from app.settings import Settings

# As what a role's unit must take part in a case to add evidence to it.
UPLOADERS: dict[Role, frozenset[Actor]] = {
    Role.county: frozenset({Actor.responsible}),
    Role.agency: frozenset({Actor.responsible}),
    Role.department: frozenset({Actor.responsible}),
    Role.officer: frozenset({Actor.dispatching}),
    Role.prefecture: frozenset({Actor.accepting}),
    Role.province: frozenset({Actor.province}),
}


@dataclass(frozen=True)
class Sent:
    """What a sender says of a file. The position is what counts where the file itself has none."""

    filename: str
    kind: EvidenceKind
    description: str | None = None
    longitude: float | None = None
    latitude: float | None = None


@dataclass(frozen=True)
class Kept:
    """A file that was looked at and stored, and the scanner that found it clean, if one is set."""

    facts: FileFacts
    blob: StoredBlob
    scanned_with: str | None


def admit(
    session: Session, settings: Settings, caller: Caller, case_id: UUID, size: int, *, but: UUID | None = None
) -> Case:
    """The case, when this caller may add a file of so many bytes to it.

    Args:
        but: an upload that is not counted, since the file comes by it.

    Raises:
        NotFound: no such case in the caller's jurisdiction.
        Forbidden: the caller's unit takes no part in it that adds evidence.
        Conflict: the case is merged or withdrawn, or has no room for it.
    """
    case: Case = get_placed(session, caller, Case, case_id)
    check_part(session, caller, case)
    _check_open(case)
    _check_room(session, settings, case, size, but=but)
    return case


def check_part(session: Session, caller: Caller, case: Case) -> None:
    """That the caller's unit takes such a part in a case as adds evidence to it.

    Raises:
        Forbidden: it does not.
    """
    if not UPLOADERS.get(caller.role, frozenset()) & actors_of(session, caller, case):
        raise Forbidden("Evidence is added by the units that take part in the case; yours may not.")


def keep(settings: Settings, storage: Storage, stream: BinaryIO, kind: EvidenceKind, *, limit: int) -> Kept:
    """Look at a file and store it. Nothing is kept of one that is refused.

    Args:
        limit: largest size in bytes.

    Raises:
        TooLarge, Invalid: the file.
        Busy: the scanner fails, or many pictures are being read.
    """
    check_size(stream.seek(0, io.SEEK_END), limit)
    facts = contents.read_facts(stream, kind)
    scanned_with = scan(settings, stream)
    stream.seek(0)
    return Kept(facts, storage.put_stream(stream, limit), scanned_with)


def keep_draft(settings: Settings, draft: Draft, kind: EvidenceKind) -> Kept:
    """As `keep`, of a file that lies in the storage already, as a draft."""
    facts = contents.read_facts(draft.stream, kind)
    scanned_with = scan(settings, draft.stream)
    return Kept(facts, draft.keep(), scanned_with)


def record(
    session: Session,
    settings: Settings,
    storage: Storage,
    caller: Caller,
    case_id: UUID,
    sent: Sent,
    kept: Kept,
    *,
    today: date,
    upload_id: UUID | None = None,
    told: Mapping[str, Any] | None = None,
) -> Evidence:
    """Write a stored file down as evidence of a case, and tell the ledger its SHA-256. The case's state stays.

    Args:
        upload_id: the upload that it came by, whose place in the case it takes.
        told: what the event says of the file besides.

    Raises:
        NotFound, Forbidden, Conflict: as `admit`, since time has passed; or the case has this very file already.
        Busy: the file is gone again.
    """
    facts, blob = kept.facts, kept.blob
    kept_files.hold(session, storage, blob)
    case = lock_cases(session, caller, [case_id]).get(case_id)
    if case is None:
        # Out of the caller's sight since it was looked for.
        raise NotFound()
    check_part(session, caller, case)
    _check_open(case)
    known = select(Evidence.id).where(Evidence.case_id == case.id, Evidence.sha256 == blob.sha256)
    if existing := session.scalar(known):
        raise Conflict("The case has this very file already.", evidence_id=str(existing))
    _check_room(session, settings, case, blob.size, but=upload_id)
    measured = facts.longitude is not None
    longitude, latitude = (facts.longitude, facts.latitude) if measured else (sent.longitude, sent.latitude)
    distance_m = measure_distance_m(session, case, longitude, latitude)
    earliest = earliest_day(session, case)
    off = days_off(None if facts.taken_at is None else legal_day(facts.taken_at), earliest[0], today)
    warnings = warn(sent.kind, facts, distance_m=distance_m, is_stated=not measured, off=off, earliest=earliest)
    evidence = Evidence(
        id=new_id(),
        case_id=case.id,
        kind=sent.kind,
        filename=safe_name(sent.filename),
        media_type=facts.media_type,
        size_bytes=blob.size,
        sha256=blob.sha256,
        description=sent.description,
        taken_at=facts.taken_at,
        longitude=longitude,
        latitude=latitude,
        distance_m=distance_m,
        days_off=off,
        warnings=warnings,
        scanned_with=kept.scanned_with,
        uploaded_by=caller.account_id,
    )
    payload = {
        "evidence_id": str(evidence.id),
        "evidence_kind": sent.kind.value,
        "sha256": blob.sha256,
        "size_bytes": blob.size,
        "media_type": facts.media_type,
        "longitude": longitude,
        "latitude": latitude,
        "position_from": None if longitude is None else "exif" if measured else "sender",
        "distance_m": distance_m,
        "days_off": off,
        "warnings": [warning["code"] for warning in warnings],
        "scanned_with": kept.scanned_with,
        **(told or {}),
    }
    event = append(session, caller, case, "evidence_added", state_before=case.state, occurred_on=today, payload=payload)
    evidence.uploaded_at = event.recorded_at
    session.add(evidence)
    session.flush()
    return evidence


def get_evidence(session: Session, caller: Caller, case_id: UUID, evidence_id: UUID) -> Evidence:
    """One piece of evidence of a case.

    Raises:
        NotFound: none, or the case lies outside the caller's jurisdiction.
    """
    case: Case = get_placed(session, caller, Case, case_id)
    evidence = session.scalar(select(Evidence).where(Evidence.id == evidence_id, Evidence.case_id == case.id))
    if evidence is None:
        raise NotFound()
    return evidence


def read_thumbnail(storage: Storage, row: Evidence) -> bytes:
    """A small JPEG of a picture, drawn when it is asked for first, then kept by the picture's SHA-256.

    Raises:
        NotFound: it is no picture, or one too large to be drawn, or the file is gone.
        Invalid: the picture is damaged.
    """
    if row.media_type not in contents.PICTURES:
        raise NotFound(f"There are thumbnails of JPEG and PNG pictures; this file is {row.media_type}.")
    key = f"thumbnails/{row.sha256[:2]}/{row.sha256[2:]}.jpg"
    try:
        return storage.read(key)
    except FileNotFoundError:
        pass
    try:
        with storage.open(blob_key(row.sha256)) as stream:
            drawn = photos.draw_thumbnail(stream, row.media_type)
    except FileNotFoundError:
        raise NotFound("The file is not in the storage; tell the operators.") from None
    storage.put_named(key, drawn)
    return drawn


def safe_name(filename: str) -> str:
    """A sent file name without folders and unprintable characters, at most 150 characters."""
    name = PurePosixPath(filename.replace("\\", "/")).name
    name = "".join(character for character in name if character.isprintable()).strip(". ")
    return name[-150:] or "file"


def _check_open(case: Case) -> None:
    if case.state in (CaseState.merged, CaseState.withdrawn):
        raise Conflict(f"The case is {case.state} and takes no more evidence.")


def _check_room(session: Session, settings: Settings, case: Case, size: int, *, but: UUID | None = None) -> None:
    """What the case has, and what is on its way to it, and so many bytes more: is that too much?"""
    here = select(func.count(), func.coalesce(func.sum(Evidence.size_bytes), 0)).where(Evidence.case_id == case.id)
    coming = select(func.count(), func.coalesce(func.sum(Upload.length), 0)).where(
        Upload.case_id == case.id,
        Upload.evidence_id.is_(None),
        Upload.expires_at > func.clock_timestamp(),
        Upload.id.is_distinct_from(but),
    )
    counts, sizes = zip(*(tuple(session.execute(each).one()) for each in (here, coming)), strict=True)
    if sum(counts) >= settings.max_case_files:
        raise Conflict(
            f"A case takes {settings.max_case_files:,} files of evidence at the most, unfinished uploads included.",
            limit=settings.max_case_files,
        )
    if sum(sizes) + size > settings.max_case_bytes:
        raise Conflict(
            f"A case takes {settings.max_case_bytes:,} bytes of evidence at the most, unfinished uploads included.",
            limit_bytes=settings.max_case_bytes,
        )
