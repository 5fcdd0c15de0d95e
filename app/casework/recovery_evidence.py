"""A case's recovery curve as evidence: the readings and what they tell, as one file that anybody can compute anew."""

from __future__ import annotations

import io
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.access.models import Role
from app.access.service import Caller, get_placed
from app.casework.evidence import UPLOADERS
from app.casework.hash_chain import canonical
from app.casework.ledger import append
from app.casework.lifecycle import CaseState
from app.casework.models import Case, Evidence, EvidenceKind
from app.casework.participation import actors_of
from app.casework.recovery_curve import Curve, curve_of, reading_document, summary
from app.casework.recovery_models import RecoverySite
from app.casework.transitions import lock_cases
from app.foundation.errors import Conflict, Forbidden, NotFound
from app.foundation.identity import new_id
from app.foundation.storage import Storage

MEDIA_TYPE = "application/json"


def document(case: Case, curve: Curve) -> dict[str, Any]:
    """The file: it follows from the readings alone, so that the same readings make the same file."""
    site = curve.site
    assert site is not None
    return {
        "case_id": str(case.id),
        "case_number": case.number,
        "simulated": case.simulated,
        "last_clear_on": site.last_clear_on.isoformat() if site.last_clear_on else None,
        "first_seen_on": site.first_seen_on.isoformat() if site.first_seen_on else None,
        "grid": site.grid,
        "inside_px": site.inside_px,
        "ring_px": site.ring_px,
        "readings": [reading_document(row) for row in curve.readings],
        **{f"summary_{name}" if name == "readings" else name: value for name, value in summary(curve).items()},
    }


def add_recovery_evidence(
    session: Session, storage: Storage, caller: Caller, case_id: UUID, *, limit: int, today: date
) -> Evidence:
    """Keep the curve as it stands as evidence of the case (canonical JSON, RFC 8785), with its event.

    Raises:
        NotFound: no such case in the caller's jurisdiction.
        Forbidden: the caller's unit takes no part in it that adds evidence.
        Conflict: the case is merged or withdrawn, nothing was read yet, or it has this very file already.
    """
    case: Case = get_placed(session, caller, Case, case_id)
    _check_part(session, caller, case)
    locked = lock_cases(session, caller, [case_id]).get(case_id)
    if locked is None:
        raise NotFound()
    case = locked
    if case.state in (CaseState.merged, CaseState.withdrawn):
        raise Conflict(f"The case is {case.state} and takes no more evidence.")
    curve = curve_of(session, case)
    if not curve.readings:
        raise Conflict(f"There is no curve to keep: {curve.reason}.", reason=curve.reason)
    content = canonical(document(case, curve))
    blob = storage.put_stream(io.BytesIO(content), limit)
    known = select(Evidence.id).where(Evidence.case_id == case.id, Evidence.sha256 == blob.sha256)
    if existing := session.scalar(known):
        raise Conflict("The case has this very file already.", evidence_id=str(existing))
    last = curve.readings[-1].acquired_on
    evidence = Evidence(
        id=new_id(),
        case_id=case.id,
        kind=EvidenceKind.document,
        filename=f"recovery-{case.number}-{last:%Y%m%d}.json",
        media_type=MEDIA_TYPE,
        size_bytes=blob.size,
        sha256=blob.sha256,
        description="植被恢复曲线（卫星影像）",
        uploaded_by=caller.account_id,
    )
    payload = {
        "evidence_id": str(evidence.id),
        "evidence_kind": evidence.kind.value,
        "sha256": blob.sha256,
        "size_bytes": blob.size,
        "media_type": MEDIA_TYPE,
        "recovery": summary(curve),
    }
    event = append(session, caller, case, "evidence_added", state_before=case.state, occurred_on=today, payload=payload)
    evidence.uploaded_at = event.recorded_at
    session.add(evidence)
    session.flush()
    return evidence


def ask_for_a_look(session: Session, caller: Caller, case_id: UUID) -> None:
    """Let the job take a case first, at its next tick, instead of once a day.

    Raises:
        NotFound: no such case in the caller's jurisdiction.
        Forbidden: neither a part in the case that adds evidence nor an inspector.
    """
    case: Case = get_placed(session, caller, Case, case_id)
    if caller.role is not Role.inspector:
        _check_part(session, caller, case)
    # A case that has no site yet has never been looked at, and its turn is the next one anyway.
    session.execute(
        update(RecoverySite).where(RecoverySite.case_id == case.id).values(requested_at=func.clock_timestamp())
    )


def _check_part(session: Session, caller: Caller, case: Case) -> None:
    if not UPLOADERS.get(caller.role, frozenset()) & actors_of(session, caller, case):
        raise Forbidden("Evidence is added by the units that take part in the case; yours may not.")
