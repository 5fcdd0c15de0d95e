"""Dismissals that were drawn at random to be looked at again by another account (DESIGN section 6)."""

from __future__ import annotations

import secrets
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.casework.review_guards import Held, begin, settle
from app.casework.review_lifecycle import AUDITED_SHARE, ReviewCommand
from app.casework.review_models import Review, ReviewAudit
from app.casework.vocabulary import AuditOutcome, DismissReason
from app.foundation.errors import Conflict, NotFound
from app.foundation.identity import new_id
from app.monitoring.models import Detection

# Not to be foreseen by whoever dismisses, and so not from a seed.
_chance: Final = secrets.SystemRandom()


class AuditState(StrEnum):
    open = "open"
    decided = "decided"


def is_drawn() -> bool:
    """Whether the next dismissal is drawn: true for `AUDITED_SHARE` of them, each by itself."""
    return _chance.random() < AUDITED_SHARE


def draw(session: Session, caller: Caller, held: Held, reason: DismissReason) -> ReviewAudit | None:
    """Perhaps draw the dismissal that the caller is about to settle."""
    if not is_drawn():
        return None
    audit = ReviewAudit(
        id=new_id(),
        detection_id=held.detection.id,
        review_version=held.review.version + 1,
        reason=reason,
        dismissed_by=caller.account_id,
        drawn_at=held.now,
    )
    session.add(audit)
    return audit


def select_audits(caller: Caller, state: AuditState | None) -> Select[ReviewAudit]:
    """The drawn dismissals of the caller's jurisdiction."""
    statement = select(ReviewAudit).join(Detection, Detection.id == ReviewAudit.detection_id)
    if state is not None:
        is_open = state is AuditState.open
        statement = statement.where(ReviewAudit.outcome.is_(None) if is_open else ReviewAudit.outcome.is_not(None))
    return in_jurisdiction(statement, caller, Detection)


def decide(
    session: Session, caller: Caller, audit_id: UUID, expected: int, outcome: AuditOutcome, note: str | None
) -> tuple[ReviewAudit, Detection, Review]:
    """Uphold a drawn dismissal, or overturn it in words: the detection lies on nobody's desk again.

    Args:
        expected: version of the detection's review.

    Raises:
        NotFound: no such dismissal in the caller's jurisdiction.
        Forbidden: the caller's role, or the caller dismissed it.
        Conflict: decided already.
    """
    audit = session.scalar(select_audits(caller, None).where(ReviewAudit.id == audit_id))
    if audit is None:
        raise NotFound()
    overturns = outcome is AuditOutcome.overturned
    command = ReviewCommand.overturn_audit if overturns else ReviewCommand.uphold_audit
    held = begin(session, caller, audit.detection_id, command, expected, note)
    # `begin` holds the detection's open one. An earlier one of the same detection is decided.
    found = held.audit
    if found is None or found.id != audit_id:
        raise Conflict("It is decided already.")
    found.outcome, found.note = outcome, note
    found.decided_by, found.decided_at = caller.account_id, held.now
    payload = {
        "audit_id": str(found.id),
        "dismissed_by": str(found.dismissed_by),
        "dismissed_as": found.reason.value,
        "outcome": outcome.value,
    }
    settle(session, caller, held, note=note, keeps=not overturns, payload=payload)
    return found, held.detection, held.review
