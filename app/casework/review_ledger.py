"""The ledger of reviews: what officers decided on detections, one hash chain a detection, append-only like that of
cases. A dismissal bends the figures as much as a closure does.

Locks: detections by id, their reviews, cases by id, the reviews' head, the cases' head last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.casework.hash_chain import ORIGIN, REVIEWS, event_hash
from app.casework.ledger import next_in
from app.casework.lifecycle import ReviewState
from app.casework.review_models import ReviewEvent
from app.foundation.identity import new_id


def append(
    session: Session,
    caller: Caller,
    detection_id: UUID,
    kind: str,
    *,
    before: ReviewState,
    after: ReviewState,
    note: str | None = None,
    payload: Mapping[str, Any] | None = None,
) -> ReviewEvent:
    """Write the next event of a detection's review, whose row the caller's transaction holds locked.

    Nothing may lock a detection, a review or a case after this; an event of a case's ledger may follow.
    """
    session.flush()
    last = session.execute(
        select(ReviewEvent.detection_sequence, ReviewEvent.hash)
        .where(ReviewEvent.detection_id == detection_id)
        .order_by(ReviewEvent.detection_sequence.desc())
        .limit(1)
    ).first()
    sequence, recorded_at = next_in(session, REVIEWS.head)
    event = ReviewEvent(
        sequence=sequence,
        id=new_id(),
        detection_id=detection_id,
        detection_sequence=last.detection_sequence + 1 if last else 1,
        kind=kind,
        actor_id=caller.account_id,
        actor_role=caller.role.value,
        actor_unit_id=caller.unit_id,
        recorded_at=recorded_at,
        state_before=before,
        state_after=after,
        note=note,
        payload=dict(payload or {}),
        previous_hash=last.hash if last else ORIGIN,
    )
    event.hash = event_hash(event.previous_hash, event, REVIEWS)
    session.add(event)
    session.flush()
    return event
