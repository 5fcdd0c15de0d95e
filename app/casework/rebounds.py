"""After closure the satellite goes on looking: new change on the ground of a closed case raises a signal (反弹线索).

What is new, and where (DESIGN section 7):

- a detection first seen on the day of the closure or later, on the case's ground (`LEAST_OVERLAP_M2`); on that very
  day, only one that was published after the closure was recorded. A suspicion raises a signal like a confirmed change:
  the province reads the confidence beside it.
- growth and confirmations that a run recorded after the closure: of the case's own detections wherever they grew, of
  others where their new part lies on the case's ground. Nobody keeps the day of each new pixel, so it is dated by the
  last imagery that its run had; what such a run saw before the closure is no rebound.

What an undecided signal tells of already raises no second one, nor does what was known when one was decided. The job
writes signal and event together and changes no state; the province rejects a signal here, or reopens the case by it
(`lifecycle.Command.reopen`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import shapely
from sqlalchemy import ColumnElement, and_, exists, func, literal, null, or_, select
from sqlalchemy.orm import Session

from app.access.models import Role
from app.access.service import Caller, in_jurisdiction, system_caller
from app.casework.duties import CLOSED_IT
from app.casework.heirs import before, news_by_heirs, news_by_merging, shown_before
from app.casework.ledger import append, history
from app.casework.lifecycle import CaseState, Command
from app.casework.models import Case, CaseEvent
from app.casework.review_models import Review
from app.casework.schemas import DetectionAnswer, ReboundMention
from app.casework.supervision_models import ReboundSignal
from app.casework.transitions import check_version, execute, lock_cases
from app.casework.vocabulary import ReopenBasis, SignalState
from app.foundation.errors import Conflict, Forbidden, NotFound
from app.foundation.geometry import from_database, geodesic_area_m2, to_database
from app.foundation.identity import new_id
from app.foundation.time import legal_day
from app.foundation.timetable import Job
from app.monitoring.models import Detection, DetectionChange, DetectionChangeKind, Run

# A pixel of 10 m: less common ground is the noise of two outlines. Of a ground or a change that is smaller than two
# of them, half of it.
LEAST_OVERLAP_M2: Final = 100.0
# Signals of one transaction, which holds their cases and the ledger's head; the next look takes the others.
MOST = 200
_NEWS = (DetectionChangeKind.grown, DetectionChangeKind.confirmed)


@dataclass(frozen=True)
class News:
    """What may raise a signal.

    Attributes:
        change_id: the growth; None: the detection itself is new.
        first_seen_on: of growth, the last day of the imagery that showed it.
        is_own: growth of the case's own detection, wherever it lies.
    """

    case_id: UUID
    detection_id: UUID
    change_id: UUID | None
    first_seen_on: date
    is_own: bool = False


def raise_signals(session: Session) -> int:
    """Raise the signals that are due, at most `MOST`, each with its event; how many.

    Done again, or by two workers at once, it raises nothing twice: what is found is looked for again once its cases
    are locked, and the database takes no second signal of the same news.
    """
    due = _due(session)
    if not due:
        return 0
    # Detections before cases, as everywhere; those that a run holds are taken by the next look.
    holding = select(Detection.id).where(Detection.id.in_({news.detection_id for news in due})).order_by(Detection.id)
    held = set(session.scalars(holding.with_for_update(read=True, key_share=True, skip_locked=True)))
    closed = select(Case).where(Case.id.in_({news.case_id for news in due})).order_by(Case.id)
    locked = session.scalars(closed.with_for_update().execution_options(populate_existing=True))
    cases = {case.id: case for case in locked}
    caller: Caller | None = None
    told: set[tuple[UUID, UUID]] = set()
    for news in _due(session, cases):
        pair = news.case_id, news.detection_id
        if news.detection_id in held and pair not in told:
            # Of a detection that is new and has grown since, one signal: the first.
            told.add(pair)
            caller = caller or system_caller(session)
            _raise(session, caller, cases[news.case_id], news)
    return len(told)


def _raise(session: Session, caller: Caller, case: Case, news: News) -> None:
    detection = session.get_one(Detection, news.detection_id)
    ground = shapely.make_valid(from_database(detection.geom))
    if news.change_id is not None:
        change = session.get_one(DetectionChange, news.change_id)
        ground = _news_of(session, change)
    if not news.is_own:
        ground = ground.intersection(shapely.make_valid(from_database(case.geom)))
    signal = ReboundSignal(
        id=new_id(),
        case_id=case.id,
        detection_id=detection.id,
        detection_change_id=news.change_id,
        geom=to_database(ground),
        area_m2=geodesic_area_m2(ground),
        first_seen_on=news.first_seen_on,
        state=SignalState.raised,
        version=1,
    )
    session.add(signal)
    append(
        session,
        caller,
        case,
        "rebound_raised",
        state_before=case.state,
        occurred_on=legal_day(_clock(session)),
        # Not `detection_change_id`: by that name pickup.py tells the same growth once.
        payload={
            "signal_id": str(signal.id),
            "detection_id": str(detection.id),
            "change_id": str(news.change_id) if news.change_id else None,
            "area_m2": round(signal.area_m2, 1),
            "first_seen_on": news.first_seen_on.isoformat(),
            "confidence": detection.confidence.value,
            # Not `activity`: what stands by that name speaks of the case, and figures count it by that.
            "detection_activity": detection.activity,
        },
    )


def _news_of(session: Session, change: DetectionChange) -> Any:
    """The part of a growth that the imagery did not show before; of a confirmation, the whole."""
    now = shapely.make_valid(from_database(change.geom))
    earlier = session.scalar(before(change))
    if change.kind is DetectionChangeKind.confirmed or earlier is None:
        return now
    added = now.difference(shapely.make_valid(from_database(earlier)))
    # Grown by its pixels, and nothing of it left in the simpler shapes that are shown: the whole, rather than no signal
    # of any case, because one has no ground.
    return added if geodesic_area_m2(added) else now


def _due(session: Session, cases: Collection[UUID] | None = None) -> list[News]:
    """News of closed cases that no signal tells of yet, oldest first, at most `MOST`; of `cases` alone if given."""
    news: list[News] = []
    its_own, by_heirs, by_merging, others = _growth(cases)
    asked = ((its_own, True), (by_heirs, True), (by_merging, True), (others, False))
    for statement, is_own in ((_new_detections(cases), False), *asked):
        rows = session.execute(statement.limit(MOST))
        news += [News(row.case_id, row.detection_id, row.change_id, row.first_seen_on, is_own) for row in rows]
    # Of a detection that is new and has grown since, the new detection first: its signal tells of the whole.
    news.sort(
        key=lambda one: (one.case_id, one.detection_id, one.change_id is not None, str(one.change_id), not one.is_own)
    )
    return news[:MOST]


def _closing() -> Any:
    """The event that closed the case last: its day, and when it was recorded."""
    return (
        select(CaseEvent.occurred_on, CaseEvent.recorded_at)
        .where(
            CaseEvent.case_id == Case.id,
            CaseEvent.state_after == CaseState.closed,
            CaseEvent.state_before.is_distinct_from(CaseState.closed.value),
        )
        .order_by(CaseEvent.case_sequence.desc())
        .limit(1)
        .correlate(Case)
        .lateral("closing")
    )


def _on_ground(geom: Any) -> ColumnElement[bool]:
    """Whether a geometry has more than the noise of outlines in common with the case's ground.

    Asked of rows that `&&` has joined: a row policy keeps functions that are not leakproof off the index. Both are made
    valid first: a single outline that crosses itself would keep every other from being looked at.
    """
    ground, news = func.ST_MakeValid(Case.geom), func.ST_MakeValid(geom)
    common: ColumnElement[float] = func.ST_Area(
        func.Geography(func.ST_CollectionExtract(func.ST_Intersection(ground, news), 3))
    )
    smaller = func.least(func.ST_Area(func.Geography(ground)), func.ST_Area(func.Geography(news)))
    return common >= func.least(literal(LEAST_OVERLAP_M2), smaller / 2)


def _new_detections(cases: Collection[UUID] | None) -> Any:
    closing = _closing()
    told = exists().where(ReboundSignal.case_id == Case.id, ReboundSignal.detection_id == Detection.id)
    # Its own detections are no news; those that were linked to it after the closure are.
    own = exists().where(
        Review.detection_id == Detection.id, Review.case_id == Case.id, Review.decided_at <= closing.c.recorded_at
    )
    statement = (
        select(
            Case.id.label("case_id"),
            Detection.id.label("detection_id"),
            null().label("change_id"),
            Detection.first_seen_on,
        )
        .select_from(Case)
        .join(closing, literal(True))
        .join(Detection, Case.geom.op("&&")(Detection.geom))
        .where(
            Case.state == CaseState.closed,
            Case.simulated == Detection.simulated,
            Detection.withdrawn_at.is_(None),
            # Its parts lie where it lies; runs and so news are the whole's.
            Detection.split_from_id.is_(None),
            or_(
                Detection.first_seen_on > closing.c.occurred_on,
                and_(
                    Detection.first_seen_on == closing.c.occurred_on,
                    Detection.published_at > closing.c.recorded_at,
                ),
            ),
            ~told,
            ~own,
            _on_ground(Detection.geom),
        )
        .order_by(Case.id, Detection.id)
    )
    return statement if cases is None else statement.where(Case.id.in_(cases))


def _growth(cases: Collection[UUID] | None) -> list[Any]:
    """Growth and confirmations since the closure: of the case's own detections, of those that its own stand for
    or that are on a case merged into it (`heirs`), and of others on its ground.
    """
    closing = _closing()
    now, earlier = func.ST_MakeValid(DetectionChange.geom), func.ST_MakeValid(shown_before())
    added = func.ST_CollectionExtract(func.ST_Difference(now, earlier), 3)
    told = exists().where(
        ReboundSignal.case_id == Case.id,
        ReboundSignal.detection_id == Detection.id,
        or_(
            ReboundSignal.state == SignalState.raised,
            # What was known when the last one was decided.
            ReboundSignal.decided_at >= DetectionChange.recorded_at,
        ),
    )
    own = exists().where(Review.detection_id == Detection.id, Review.case_id == Case.id)
    grown = DetectionChange.kind == DetectionChangeKind.grown
    # A change from before the closure that is surer now is none that came after it.
    surer = and_(
        DetectionChange.kind == DetectionChangeKind.confirmed, Detection.first_seen_on >= closing.c.occurred_on
    )
    columns = (
        Case.id.label("case_id"),
        Detection.id.label("detection_id"),
        DetectionChange.id.label("change_id"),
        Run.until.label("first_seen_on"),
    )
    conditions = [
        Case.state == CaseState.closed,
        Case.simulated == Detection.simulated,
        Detection.withdrawn_at.is_(None),
        DetectionChange.recorded_at > closing.c.recorded_at,
        Run.until >= closing.c.occurred_on,
        ~told,
    ]
    if cases is not None:
        conditions.append(Case.id.in_(cases))
    heirs, merged = news_by_heirs(), news_by_merging()
    start = select(*columns).select_from(Case).join(closing, literal(True))
    its_own = (
        start.join(Review, Review.case_id == Case.id)
        .join(Detection, Detection.id == Review.detection_id)
        .join(DetectionChange, DetectionChange.detection_id == Detection.id)
        .where(or_(grown, surer))
    )
    by_heirs = (
        start.join(heirs, heirs.c.case_id == Case.id)
        .join(DetectionChange, DetectionChange.id == heirs.c.change_id)
        .join(Detection, Detection.id == DetectionChange.detection_id)
        .where(or_(grown, surer))
    )
    by_merging = (
        start.join(merged, merged.c.case_id == Case.id)
        .join(DetectionChange, DetectionChange.id == merged.c.change_id)
        .join(Detection, Detection.id == DetectionChange.detection_id)
        .where(or_(grown, surer))
    )
    others = (
        start.join(Detection, Case.geom.op("&&")(Detection.geom))
        .join(DetectionChange, DetectionChange.detection_id == Detection.id)
        .where(~own, or_(and_(grown, _on_ground(added)), and_(surer, _on_ground(DetectionChange.geom))))
    )
    return [
        statement.join(Run, Run.id == DetectionChange.run_id)
        .where(*conditions)
        .order_by(Case.id, Detection.id, DetectionChange.id)
        for statement in (its_own, by_heirs, by_merging, others)
    ]


def mention_rebounds(session: Session, caller: Caller, answers: list[DetectionAnswer]) -> list[DetectionAnswer]:
    """Name in answers the signals that their detections raised of cases that the caller may see."""
    statement = select(ReboundSignal).join(Case, Case.id == ReboundSignal.case_id).order_by(ReboundSignal.id)
    wanted = {answer.id: answer for answer in answers}
    for signal in session.scalars(
        in_jurisdiction(statement.where(ReboundSignal.detection_id.in_(wanted)), caller, Case)
    ):
        wanted[signal.detection_id].rebounds.append(ReboundMention.model_validate(signal))
    return answers


def reject(session: Session, caller: Caller, signal_id: UUID, expected: int, reason: str) -> ReboundSignal:
    """Find that a signal is no rebound; it stays, with the reason, and is counted (the province).

    Raises:
        NotFound: none in the caller's jurisdiction.
        Forbidden: not the province, or the account accepted or closed the case (separation of duties).
        StaleVersion, Conflict: it changed since, or is decided.
    """
    case, signal = _begin(session, caller, signal_id, expected)
    if any(event.actor_id == caller.account_id and event.kind in CLOSED_IT for event in history(session, case.id)):
        raise Forbidden("Separation of duties: the account that accepted or closed this case rejects no signal of it.")
    signal.state, signal.reason = SignalState.rejected, reason
    signal.version += 1
    signal.decided_by, signal.decided_at = caller.account_id, _clock(session)
    append(
        session,
        caller,
        case,
        "rebound_rejected",
        state_before=case.state,
        occurred_on=legal_day(signal.decided_at),
        note=reason,
        payload={"signal_id": str(signal.id), "detection_id": str(signal.detection_id)},
    )
    return signal


def affirm(session: Session, caller: Caller, signal_id: UUID, expected: int, reason: str, today: date) -> ReboundSignal:
    """Reopen the case by a signal; what else is raised of it is affirmed with it (the province).

    Raises:
        NotFound, Forbidden, StaleVersion, Conflict: as `reject`, and what the command `reopen` refuses.
    """
    case, signal = _begin(session, caller, signal_id, expected)
    fields = {"basis": ReopenBasis.rebound_signal, "signal_id": signal.id, "reason": reason}
    execute(
        session,
        caller,
        case.id,
        Command.reopen,
        fields,
        # The case is locked: the signal's version is what the province decided on.
        expected_version=case.version,
        occurred_on=None,
        note=None,
        today=today,
    )
    session.refresh(signal)
    return signal


def _begin(session: Session, caller: Caller, signal_id: UUID, expected: int) -> tuple[Case, ReboundSignal]:
    """A signal that is still to be decided, and its case, both locked."""
    case_id = session.scalar(
        in_jurisdiction(select(Case.id).join(ReboundSignal, ReboundSignal.case_id == Case.id), caller, Case).where(
            ReboundSignal.id == signal_id
        )
    )
    if case_id is None:
        raise NotFound()
    caller.require(Role.province)
    case = lock_cases(session, caller, [case_id])[case_id]
    signal = session.scalars(
        select(ReboundSignal)
        .where(ReboundSignal.id == signal_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    check_version(signal.version, expected)
    if signal.state is not SignalState.raised:
        raise Conflict(f"The signal is {signal.state} already.", state=signal.state.value)
    return case, signal


def _clock(session: Session) -> datetime:
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    return now


def timetable() -> list[Job]:
    """Looks every five minutes."""

    def work(session: Session, tick: datetime) -> None:
        raise_signals(session)

    return [Job("rebound signals of closed cases", "*/5 * * * *", work)]
