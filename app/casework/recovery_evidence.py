"""A case's recovery curve as evidence: the readings and what they tell, as one file that anybody can compute anew."""

from __future__ import annotations

import io
from typing import Any
from uuid import UUID

from fastapi import Response
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from app.access.models import Role
from app.access.service import Caller, get_placed
from app.casework import evidence
from app.casework.file_facts import FileFacts
from app.casework.hash_chain import canonical
from app.casework.models import Case, EvidenceKind
from app.casework.recovery_curve import Curve, curve_of, reading_document, summary
from app.casework.recovery_models import RecoverySite
from app.casework.taking import Taking
from app.foundation.errors import Conflict

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


class CurveFile(Taking):
    """One request to keep the curve as it stands: canonical JSON (RFC 8785), which the service writes itself."""

    def take(self) -> Response:
        """Make evidence of the curve, as of any other file.

        Raises:
            Unauthenticated, NotFound, Forbidden: as `evidence.admit`.
            Conflict: so, too; nothing was read yet; or the case has this very file already.
        """
        with self.enter() as (session, caller):
            named = self.named(session, caller)
            if named is not None and (before := named.recall()):
                return before
            case = evidence.admit(session, self.settings, caller, self.case_id, 0)
            curve = curve_of(session, case)
            if not curve.readings:
                raise Conflict(f"There is no curve to keep: {curve.reason}.", reason=curve.reason)
            content = canonical(document(case, curve))
            name = f"recovery-{case.number}-{curve.readings[-1].acquired_on:%Y%m%d}.json"
        blob = self.storage.put_stream(io.BytesIO(content), self.settings.max_upload_bytes)
        sent = evidence.Sent(name, EvidenceKind.document, "植被恢复曲线（卫星影像）")
        return self.record(sent, evidence.Kept(FileFacts(MEDIA_TYPE), blob, None), {"recovery": summary(curve)})


def ask_for_a_look(session: Session, caller: Caller, case_id: UUID) -> None:
    """Let the job take a case first, at its next tick, instead of once a day.

    Raises:
        NotFound: no such case in the caller's jurisdiction.
        Forbidden: neither a part in the case that adds evidence nor an inspector.
    """
    case: Case = get_placed(session, caller, Case, case_id)
    if caller.role is not Role.inspector:
        evidence.check_part(session, caller, case)
    # A case that has no site yet has never been looked at, and its turn is the next one anyway.
    session.execute(
        update(RecoverySite).where(RecoverySite.case_id == case.id).values(requested_at=func.clock_timestamp())
    )
