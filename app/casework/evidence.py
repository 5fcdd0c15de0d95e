"""Evidence: files that prove something about a case, kept by their content."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import PurePosixPath
from typing import BinaryIO
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.models import Role
from app.access.service import Caller, get_placed
from app.casework.ledger import append
from app.casework.lifecycle import Actor, CaseState
from app.casework.models import Case, Evidence, EvidenceKind
from app.casework.participation import actors_of
from app.casework.photos import read_facts
from app.casework.transitions import lock_cases
from app.foundation.errors import Conflict, Forbidden, NotFound
from app.foundation.geometry import SRID
from app.foundation.identity import new_id
from app.foundation.storage import Storage

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
class Upload:
    """A file as it was sent. The position is what the sender states; the file's own goes before it."""

    stream: BinaryIO
    filename: str
    kind: EvidenceKind
    description: str | None = None
    longitude: float | None = None
    latitude: float | None = None


def add_evidence(
    session: Session, storage: Storage, caller: Caller, case_id: UUID, upload: Upload, *, limit: int, today: date
) -> Evidence:
    """Keep a file as evidence of a case, and tell the ledger its SHA-256. The case's state stays.

    Args:
        limit: largest size in bytes.

    Raises:
        NotFound: no such case in the caller's jurisdiction.
        Forbidden: the caller's unit takes no part in it that adds evidence.
        Conflict: the case is merged or withdrawn, or has this very file already.
        TooLarge, Invalid: the file.
    """
    case: Case = get_placed(session, caller, Case, case_id)
    if not UPLOADERS.get(caller.role, frozenset()) & actors_of(session, caller, case):
        raise Forbidden("Evidence is added by the units that take part in the case; yours may not.")
    facts = read_facts(upload.stream, upload.kind)
    # A file that is stored and then not recorded is harmless: it is kept by its content, and nothing points to it.
    upload.stream.seek(0)
    blob = storage.put_stream(upload.stream, limit)
    locked = lock_cases(session, caller, [case_id]).get(case_id)
    if locked is None:
        # Out of the caller's sight since it was looked for.
        raise NotFound()
    case = locked
    if case.state in (CaseState.merged, CaseState.withdrawn):
        raise Conflict(f"The case is {case.state} and takes no more evidence.")
    known = select(Evidence.id).where(Evidence.case_id == case.id, Evidence.sha256 == blob.sha256)
    if existing := session.scalar(known):
        raise Conflict("The case has this very file already.", evidence_id=str(existing))
    measured = facts.longitude is not None
    longitude, latitude = (facts.longitude, facts.latitude) if measured else (upload.longitude, upload.latitude)
    evidence = Evidence(
        id=new_id(),
        case_id=case.id,
        kind=upload.kind,
        filename=safe_name(upload.filename),
        media_type=facts.media_type,
        size_bytes=blob.size,
        sha256=blob.sha256,
        description=upload.description,
        taken_at=facts.taken_at,
        longitude=longitude,
        latitude=latitude,
        distance_m=_distance_m(session, case, longitude, latitude),
        uploaded_by=caller.account_id,
    )
    payload = {
        "evidence_id": str(evidence.id),
        "evidence_kind": upload.kind.value,
        "sha256": blob.sha256,
        "size_bytes": blob.size,
        "media_type": facts.media_type,
        "longitude": longitude,
        "latitude": latitude,
        "position_from": None if longitude is None else "exif" if measured else "sender",
        "distance_m": evidence.distance_m,
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


def safe_name(filename: str) -> str:
    """A sent file name without folders and unprintable characters, at most 150 characters."""
    name = PurePosixPath(filename.replace("\\", "/")).name
    name = "".join(character for character in name if character.isprintable()).strip(". ")
    return name[-150:] or "file"


def _distance_m(session: Session, case: Case, longitude: float | None, latitude: float | None) -> float | None:
    """Geodesic distance of a position from the case's ground, metres; 0 inside it."""
    if longitude is None or latitude is None:
        return None
    point = func.ST_SetSRID(func.ST_MakePoint(longitude, latitude), SRID)
    distance = select(func.ST_Distance(func.geography(Case.geom), func.geography(point))).where(Case.id == case.id)
    measured: float | None = session.scalar(distance)
    return None if measured is None else round(measured, 1)
