"""One command on many detections at once.

All locks come first and in the order of everyone else: detections by id, their reviews, cases by id, the reviews' head,
the counters of case numbers. Then each item is a savepoint of its own, which waits for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import Caller
from app.casework import review
from app.casework.answers import load_names, review_answer
from app.casework.ledger import REVIEWS_HEAD
from app.casework.models import LedgerHead
from app.casework.opening import lock_numbers
from app.casework.review_guards import lock_detections
from app.casework.review_lifecycle import REVIEW_TRANSITIONS, BulkCommand, ReviewCommand
from app.casework.review_models import Review
from app.casework.review_schemas import BulkAnswer, BulkItem, BulkItemAnswer, BulkRequest
from app.casework.schemas import (
    AuthoriseRequest,
    DismissRequest,
    DispatchRequest,
    LinkRequest,
    NoteRequest,
    StartReviewRequest,
    WordsRequest,
)
from app.casework.transitions import lock_cases
from app.casework.vocabulary import pointers
from app.foundation.errors import Conflict, Invalid, Problem
from app.monitoring.models import Detection


@dataclass(frozen=True)
class _Given:
    """An item whose fields were read."""

    session: Session
    caller: Caller
    item: BulkItem
    fields: Any
    today: date

    @property
    def place(self) -> tuple[Session, Caller, UUID, int]:
        return self.session, self.caller, self.item.detection_id, self.item.version


_Act = Callable[[_Given], object]
# What each takes, and how it is carried out.
_ACTS: Final[Mapping[BulkCommand, tuple[type[BaseModel], _Act]]] = MappingProxyType(
    {
        BulkCommand.start_review: (StartReviewRequest, lambda g: review.start_review(*g.place, g.fields.note)),
        BulkCommand.release: (NoteRequest, lambda g: review.release(*g.place, g.fields.note)),
        BulkCommand.dismiss: (DismissRequest, lambda g: review.dismiss(*g.place, g.fields.reason, g.fields.note)),
        BulkCommand.authorise: (
            AuthoriseRequest,
            lambda g: review.authorise(*g.place, g.fields.permit_code, g.fields.legal_ground, g.fields.note),
        ),
        BulkCommand.link: (LinkRequest, lambda g: review.link(*g.place, g.fields.case_id, g.fields.note, g.today)),
        BulkCommand.dispatch: (DispatchRequest, lambda g: review.dispatch(*g.place, g.fields, g.today)),
        BulkCommand.withdraw_proposal: (NoteRequest, lambda g: review.withdraw_proposal(*g.place, g.fields.note)),
        BulkCommand.uphold_review: (NoteRequest, lambda g: review.uphold(*g.place, g.fields.note)),
        BulkCommand.reject_review: (WordsRequest, lambda g: review.reject(*g.place, g.fields.note)),
    }
)


def decide_many(session: Session, caller: Caller, request: BulkRequest, today: date) -> BulkAnswer:
    """Carry a command out on each item, or on none where it is atomic and one fails.

    Raises:
        Forbidden: the role may not give this command.
        Invalid: an item names a detection a second time; atomic, and all that fails is invalid.
        Conflict: atomic, and something fails.
    """
    caller.require(*REVIEW_TRANSITIONS[ReviewCommand(request.command.value)].roles)
    _refuse_twice(request.items)
    read = [_read(session, caller, request.command, item, today) for item in request.items]
    detections = _lock(session, caller, request.command, [one for one in read if isinstance(one, _Given)], today)
    failed = [_carry_out(request.command, one) for one in read]
    if request.atomic and any(failed):
        raise _nothing_done(request, failed)
    rows = session.scalars(select(Review).where(Review.detection_id.in_(list(detections))))
    reviews = {row.detection_id: row for row in rows}
    names = load_names(session, {name for row in reviews.values() for name in (row.claimed_by, row.proposed_by)})
    answers = [
        BulkItemAnswer(
            detection_id=item.detection_id,
            status=problem.status if problem else (201 if request.command is BulkCommand.dispatch else 200),
            review=None if problem else review_answer(reviews[item.detection_id], names),
            problem=problem.body() if problem else None,
        )
        for item, problem in zip(request.items, failed, strict=True)
    ]
    lost = sum(problem is not None for problem in failed)
    return BulkAnswer(done=len(answers) - lost, failed=lost, items=answers)


def _refuse_twice(items: Sequence[BulkItem]) -> None:
    seen: set[object] = set()
    for place, item in enumerate(items):
        if item.detection_id in seen:
            pointer = f"items/{place}/detection_id"
            raise Invalid(
                f"Mend these fields: {pointer}.", errors=[{"pointer": pointer, "detail": "stands here a second time"}]
            )
        seen.add(item.detection_id)


def _read(session: Session, caller: Caller, command: BulkCommand, item: BulkItem, today: date) -> _Given | Problem:
    try:
        return _Given(session, caller, item, _ACTS[command][0].model_validate(item.fields), today)
    except ValidationError as error:
        errors = pointers(error.errors(include_url=False), "fields")
        return Invalid(f"Mend these fields: {', '.join(one['pointer'] for one in errors)}.", errors=errors)


def _lock(
    session: Session, caller: Caller, command: BulkCommand, given: Sequence[_Given], today: date
) -> dict[Any, Detection]:
    """Everything that the items will lock. Reviews that are not there yet are made under their detection's lock."""
    detections = lock_detections(session, caller, [one.item.detection_id for one in given])
    reviews = select(Review.id).where(Review.detection_id.in_(list(detections))).order_by(Review.detection_id)
    session.execute(reviews.with_for_update())
    if command is BulkCommand.link:
        lock_cases(session, caller, list({one.fields.case_id for one in given}))
    if command is BulkCommand.dispatch:
        session.execute(select(LedgerHead.id).where(LedgerHead.id == REVIEWS_HEAD).with_for_update())
        codes = {code for one in given if (code := _lead(session, one, detections)) is not None}
        there_are = session.scalars(select(Unit.code).where(Unit.code.in_(codes)))
        lock_numbers(session, there_are, today.year)
    return detections


def _lead(session: Session, given: _Given, detections: Mapping[Any, Detection]) -> str | None:
    """The unit whose number the item's case will have; None: it will have none."""
    detection = detections.get(given.item.detection_id)
    if detection is None or detection.lead_unit_id is None:
        return None
    try:
        named: str | None = given.fields.lead_unit
        return named or review.lead_of(session, detection)
    except Problem:
        return None


def _carry_out(command: BulkCommand, given: _Given | Problem) -> Problem | None:
    """What went wrong with an item, whose traces are gone then; None: it is done."""
    if isinstance(given, Problem):
        return given
    try:
        with given.session.begin_nested():
            _ACTS[command][1](given)
    except Problem as problem:
        return problem
    return None


def _nothing_done(request: BulkRequest, failed: Sequence[Problem | None]) -> Problem:
    items = [
        {"detection_id": str(item.detection_id), "status": problem.status, "problem": problem.body()}
        for item, problem in zip(request.items, failed, strict=True)
        if problem is not None
    ]
    kind = Invalid if all(item["status"] == Invalid.status for item in items) else Conflict
    return kind(f"{len(items)} of {len(request.items)} items failed, so nothing was done.", items=items)
