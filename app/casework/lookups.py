"""What guards and effects read beside the case itself, of many cases at once.

A question is answered for all cases of the object the first time that it is asked, in as many statements as one case
takes. The cases are locked by then, and nothing that is read here is changed by the commands of one request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.casework.commands import ClosureFields, Fields
from app.casework.deadline_models import Deadline
from app.casework.deadlines import changes_of_many, due_now
from app.casework.lifecycle import PHOTO_NEAR_M
from app.casework.models import Case, CaseSource, Evidence, EvidenceKind
from app.casework.recovery_curve import Curve, curves_of
from app.casework.supervision_models import Objection
from app.casework.vocabulary import DeadlineState, ObjectionState

# Cases whose curves are held at a time: a case has hundreds of readings.
_CURVES = 100


@dataclass(frozen=True)
class Positions:
    """Whether something proves that somebody was on a case's ground; else how far away its nearest photo is, in m."""

    proven: bool = False
    nearest_m: float | None = None


class Lookups:
    """What is known of cases on which commands were given."""

    def __init__(self, session: Session, caller: Caller, asked: Sequence[tuple[Case, Fields]], today: date) -> None:
        """
        Args:
            asked: the cases in the order in which they are decided on, with what each command was given.
            today: the legal day.
        """
        self._session, self._caller, self._asked, self._today = session, caller, asked, today
        self._ids = [case.id for case, _ in asked]
        self._places = {case_id: place for place, case_id in enumerate(self._ids)}
        self._curves: dict[UUID, Curve] = {}

    def curve(self, case: Case) -> Curve:
        """The recovery of a case as it stands."""
        if case.id not in self._curves:
            first = self._places[case.id]
            self._curves = curves_of(self._session, self._ids[first : first + _CURVES])
        return self._curves[case.id]

    def day_after_pause(self, case: Case) -> date | None:
        """A plan's last day with the days of a pause that is still open today; None: its clock is not paused.

        For whoever ends the clock by a step: `deadlines.end` counts the same, and the case shows it in its event.
        """
        return self._days_after_pause.get(case.id)

    @cached_property
    def _days_after_pause(self) -> dict[UUID, date]:
        paused = select(Deadline).where(
            Deadline.case_id == func.any(self._ids),
            Deadline.state == DeadlineState.paused,
            Deadline.rule == "rectification",
        )
        clocks = list(self._session.scalars(paused))
        changes = changes_of_many(self._session, clocks) if clocks else {}
        return {
            one.case_id: due_now(self._session, one, changes[one.id], paused_until=self._today).due_on
            for one in clocks
        }  # fmt: skip

    def positions(self, case: Case) -> Positions:
        """What a case's photos and field records say of where they were made."""
        return self._positions.get(case.id, Positions())

    @cached_property
    def _positions(self) -> dict[UUID, Positions]:
        is_photo = Evidence.kind == EvidenceKind.photo
        near = is_photo & (Evidence.distance_m <= PHOTO_NEAR_M)
        rows = self._session.execute(
            select(
                Evidence.case_id,
                func.coalesce(func.bool_or(or_(near, Evidence.kind == EvidenceKind.field_record)), False),
                func.min(Evidence.distance_m).filter(is_photo),
            )
            .where(Evidence.case_id == func.any(self._ids))
            .group_by(Evidence.case_id)
        )
        return {case_id: Positions(proven, nearest) for case_id, proven, nearest in rows}

    def listed_until(self, case: Case) -> date | None:
        """By when a list wants the case closed: the first such day that is still ahead."""
        return self._listed_until.get(case.id)

    @cached_property
    def _listed_until(self) -> dict[UUID, date]:
        ahead = select(CaseSource.case_id, func.min(CaseSource.due_on)).where(
            CaseSource.case_id == func.any(self._ids), CaseSource.due_on > self._today
        )
        rows = self._session.execute(ahead.group_by(CaseSource.case_id)).all()
        return {case_id: day for case_id, day in rows if day is not None}

    def evidence(self, evidence_id: UUID) -> Evidence | None:
        """Evidence that an application for closure names, in the caller's sight."""
        return self._evidence.get(evidence_id)

    @cached_property
    def _evidence(self) -> dict[UUID, Evidence]:
        named = {fields.evidence_id for _, fields in self._asked if isinstance(fields, ClosureFields)}
        found = select(Evidence).where(Evidence.id == func.any(list(named)))
        return {one.id: one for one in self._session.scalars(found)}

    def shown_before(self, evidence: Evidence, instant: datetime) -> str | None:
        """The number of a case, of those that the caller may see, that had the very same file by an instant."""
        files = self._files.get(evidence.sha256, ())
        return next((number for number, uploaded_at in files if uploaded_at <= instant), None)

    @cached_property
    def _files(self) -> dict[str, list[tuple[str, datetime]]]:
        """By digest of the evidence that is named, the cases that have the file, and since when."""
        digests = {one.sha256 for one in self._evidence.values()}
        having = select(Evidence.sha256, Case.number, Evidence.uploaded_at).join(Case, Evidence.case_id == Case.id)
        having = having.where(Evidence.sha256 == func.any(list(digests)))
        found: dict[str, list[tuple[str, datetime]]] = {}
        rows = self._session.execute(in_jurisdiction(having, self._caller, Case).order_by(Case.id))
        for sha256, number, uploaded_at in rows:
            found.setdefault(sha256, []).append((number, uploaded_at))
        return found

    def open_objections(self, case: Case) -> Sequence[UUID]:
        """Objections to a case's closure that wait for a decision, oldest first."""
        return self._open_objections.get(case.id, ())

    @cached_property
    def _open_objections(self) -> dict[UUID, list[UUID]]:
        waiting = select(Objection.case_id, Objection.id).where(
            Objection.case_id == func.any(self._ids), Objection.state == ObjectionState.open
        )
        found: dict[UUID, list[UUID]] = {}
        for case_id, objection_id in self._session.execute(waiting.order_by(Objection.recorded_at, Objection.id)):
            found.setdefault(case_id, []).append(objection_id)
        return found
