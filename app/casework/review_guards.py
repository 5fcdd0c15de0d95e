"""The one place where it is decided whether a command on a detection's review is carried out, and where it is written.

`begin` reads the table of `review_lifecycle` against the caller, the detection and its review, and holds both; `settle`
writes state and event together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.access.models import Account
from app.access.service import Caller, in_jurisdiction, units_above
from app.casework import review_ledger
from app.casework.guards import invalid
from app.casework.lifecycle import ReviewState
from app.casework.review_lifecycle import (
    CLAIM_LASTS,
    HAND_LABELS,
    REVIEW_TRANSITIONS,
    Hand,
    ReviewCommand,
    ReviewTransition,
    review_commands_from,
)
from app.casework.review_models import Review, ReviewAudit, ReviewEvent
from app.casework.transitions import check_version
from app.foundation.errors import Conflict, Forbidden, NotFound
from app.foundation.identity import new_id
from app.monitoring.models import Detection


@dataclass(frozen=True)
class Held:
    """A detection and its review, locked, on which a command may be carried out.

    Attributes:
        now: the database's clock at the start of the transaction.
        audit: the open one of a drawn dismissal.
    """

    detection: Detection
    review: Review
    row: ReviewTransition
    before: ReviewState
    now: datetime
    audit: ReviewAudit | None


def begin(
    session: Session, caller: Caller, detection_id: UUID, command: ReviewCommand, expected: int, note: str | None
) -> Held:
    """The detection and its review, locked; role, words, version, state and hand checked.

    Raises:
        NotFound: no such detection in the caller's jurisdiction.
        Forbidden: the role may not, or separation of duties.
        Invalid: it needs words.
        StaleVersion: the review changed since `expected`.
        Conflict: not possible in its state, or it lies on another desk.
    """
    row = REVIEW_TRANSITIONS[command]
    detection = lock_detections(session, caller, [detection_id]).get(detection_id)
    if detection is None:
        raise NotFound()
    caller.require(*row.roles)
    if row.words and not note:
        raise invalid("note", f"say why: {command} needs words")
    review, now = _lock_review(session, caller, detection)
    check_version(review.version, expected)
    if detection.withdrawn_at is not None:
        raise Conflict("The detection was withdrawn: the change was not seen again.")
    if review.state not in row.sources:
        possible = [other.value for other in review_commands_from(review.state)]
        raise Conflict(
            f"{command} is not possible while the detection is {review.state}. "
            f"Possible now: {', '.join(possible) or 'nothing'}.",
            state=review.state.value,
            possible=possible,
        )
    audit = _open_audit(session, review) if review.state is ReviewState.dismissed else None
    held = Held(detection, review, row, review.state, now, audit)
    _check_hand(session, caller, held)
    # From the first decision on, a run only lets it grow; what it learns of the past is recorded beside it.
    detection.held_at = detection.held_at or now
    return held


def settle(
    session: Session,
    caller: Caller,
    held: Held,
    *,
    reason: str | None = None,
    note: str | None = None,
    proposes: bool = False,
    keeps: bool = False,
    case_id: UUID | None = None,
    payload: Mapping[str, Any] | None = None,
) -> ReviewEvent:
    """Write the command's outcome into review and ledger. Takes the reviews' head: nothing but an event of a case, and
    a case that is opened, may follow.

    Args:
        proposes: a second account has to affirm it.
        keeps: reason and words of the decision that it affirms stay.
        case_id: of the case that it is on from now on; the row may be made after this.
    """
    review, row = held.review, held.row
    after = row.leads_to(held.before)
    if proposes:
        assert row.proposes is not None
        after = row.proposes
    review.state = after
    review.version += 1
    if not keeps:
        review.reason, review.note = reason, note
    review.claimed_by, review.claimed_at = (caller.account_id, held.now) if row.claims else (None, None)
    review.proposed_by = caller.account_id if proposes else None
    if row.hand is not Hand.auditor or after is not held.before:
        # When the officer sent it: growth that was published while it waited for the lock is news to the case.
        review.decided_by, review.decided_at = caller.account_id, held.now
    content = {"reason": reason, "case_id": str(case_id) if case_id else None, **(payload or {})}
    return review_ledger.append(
        session,
        caller,
        held.detection.id,
        row.command.value,
        before=held.before,
        after=after,
        note=note,
        payload={name: value for name, value in content.items() if value is not None} | {"version": review.version},
    )


def lock_detections(session: Session, caller: Caller, ids: list[UUID]) -> dict[UUID, Detection]:
    """Detections of the caller's jurisdiction as they stand now, locked in the order of their ids.

    Until commit, no run withdraws them or lets them grow.
    """
    statement = (
        in_jurisdiction(select(Detection).where(Detection.id.in_(ids)), caller, Detection)
        .order_by(Detection.id)
        # Rows may go on referring to them.
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return {detection.id: detection for detection in session.scalars(statement)}


def claim_holds(review: Review, now: datetime) -> bool:
    """Whether it lies on somebody's desk at an instant."""
    return review.claimed_by is not None and review.claimed_at is not None and now < review.claimed_at + CLAIM_LASTS


def _lock_review(session: Session, caller: Caller, detection: Detection) -> tuple[Review, datetime]:
    # A detection without a review gets one at version 0. Whoever else would make it waits for the detection.
    session.execute(
        insert(Review)
        .values(
            id=new_id(),
            detection_id=detection.id,
            state=ReviewState.new,
            version=0,
            decided_by=caller.account_id,
        )
        .on_conflict_do_nothing(index_elements=[Review.detection_id])
    )
    statement = select(Review, func.now()).where(Review.detection_id == detection.id).with_for_update(of=Review)
    found = session.execute(statement.execution_options(populate_existing=True)).one_or_none()
    if found is None:
        raise NotFound()
    return found[0], found[1]


def _open_audit(session: Session, review: Review) -> ReviewAudit | None:
    statement = select(ReviewAudit).where(
        ReviewAudit.detection_id == review.detection_id, ReviewAudit.outcome.is_(None)
    )
    return session.scalar(statement.with_for_update().execution_options(populate_existing=True))


def _check_hand(session: Session, caller: Caller, held: Held) -> None:
    hand = held.row.hand
    if held.audit is not None and hand is not Hand.auditor:
        raise Conflict("Its dismissal was drawn to be looked at again; another account decides on that first.")
    if hand is Hand.auditor and held.audit is None:
        raise Conflict("This dismissal is not drawn to be looked at again, or that is decided already.")
    is_claimed = claim_holds(held.review, held.now)
    if hand is Hand.claimant and not is_claimed:
        raise Conflict("It lies on nobody's desk; there is nothing to release.")
    if hand is Hand.free:
        if is_claimed and held.review.claimed_by != caller.account_id:
            raise _claimed(session, held)
    elif not _HANDS[hand](session, caller, held):
        raise Forbidden(f"Separation of duties: {held.row.command} is for {HAND_LABELS[hand]}.")


def _is_claimant(session: Session, caller: Caller, held: Held) -> bool:
    claimant = held.review.claimed_by
    return claimant == caller.account_id or caller.unit_id in _above(session, claimant)


def _is_proposer(session: Session, caller: Caller, held: Held) -> bool:
    return held.review.proposed_by == caller.account_id


def _is_second(session: Session, caller: Caller, held: Held) -> bool:
    proposer = held.review.proposed_by
    if proposer == caller.account_id:
        return False
    above = _above(session, proposer)
    return caller.unit_id in above if above else caller.unit_id == _account(session, proposer).unit_id


def _is_auditor(session: Session, caller: Caller, held: Held) -> bool:
    return held.audit is not None and held.audit.dismissed_by != caller.account_id


_HANDS: Mapping[Hand, Callable[[Session, Caller, Held], bool]] = MappingProxyType(
    {
        Hand.claimant: _is_claimant,
        Hand.proposer: _is_proposer,
        Hand.second: _is_second,
        Hand.auditor: _is_auditor,
    }
)


def _above(session: Session, account_id: UUID | None) -> list[UUID]:
    return units_above(session, _account(session, account_id).unit_id)


def _account(session: Session, account_id: UUID | None) -> Account:
    return session.get_one(Account, account_id)


def _claimed(session: Session, held: Held) -> Conflict:
    name = _account(session, held.review.claimed_by).display_name
    assert held.review.claimed_at is not None
    until = (held.review.claimed_at + CLAIM_LASTS).isoformat()
    return Conflict(
        f"{name} has claimed this detection until {until}; it is free then, or when it is released.",
        claimed_by=name,
        claimed_until=until,
    )
