"""Rows of casework as the API gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Account, Role, Unit
from app.access.schemas import UnitAnswer
from app.access.service import Caller, in_jurisdiction
from app.casework.lifecycle import REVIEW_STATE_LABELS, STATE_LABELS, ReviewState
from app.casework.models import Case, CaseEvent, CaseLink, Participation
from app.casework.participation import parts_today
from app.casework.review_guards import claim_holds
from app.casework.review_lifecycle import CLAIM_LASTS
from app.casework.review_models import Review, ReviewAudit, ReviewEvent
from app.casework.review_schemas import AuditAnswer, ReviewEventAnswer
from app.casework.schemas import (
    CaseAnswer,
    CaseLinkAnswer,
    CaseSummary,
    DetectionAnswer,
    DetectionChangeAnswer,
    EventAnswer,
    OutlineAnswer,
    ParticipationAnswer,
    ReviewAnswer,
)
from app.foundation.geometry import from_database, geojson
from app.foundation.time import utc_now
from app.monitoring.models import Detection, DetectionChange

Units = dict[UUID, UnitAnswer]
Parts = Mapping[tuple[Participation, UUID], frozenset[UUID]]


def load_units(session: Session, ids: Iterable[UUID | None]) -> Units:
    wanted = {unit_id for unit_id in ids if unit_id is not None}
    rows = session.scalars(select(Unit).where(Unit.id.in_(wanted)))
    return {row.id: UnitAnswer.model_validate(row) for row in rows}


def detection_answers(
    session: Session, detections: Sequence[Detection], reviews: dict[UUID, Review]
) -> list[DetectionAnswer]:
    units = load_units(session, (detection.lead_unit_id for detection in detections))
    named = {account for review in reviews.values() for account in (review.claimed_by, review.proposed_by)}
    names = load_names(session, named)
    return [_detection(row, reviews.get(row.id), units, names) for row in detections]


def load_names(session: Session, ids: Iterable[UUID | None]) -> dict[UUID, str]:
    """Display names of accounts."""
    wanted = {account for account in ids if account is not None}
    if not wanted:
        return {}
    rows = session.execute(select(Account.id, Account.display_name).where(Account.id.in_(wanted)))
    return {row.id: row.display_name for row in rows}


def _detection(row: Detection, review: Review | None, units: Units, names: dict[UUID, str]) -> DetectionAnswer:
    return DetectionAnswer(
        id=row.id,
        plan_id=row.plan_id,
        run_id=row.run_id,
        simulated=row.simulated,
        geometry=geojson(from_database(row.geom)),
        area_m2=row.area_m2,
        change_type=row.change_type,
        activity=row.activity,
        activities=row.activities,
        calibration=row.calibration,
        confidence=row.confidence,
        last_clear_on=row.last_clear_on,
        first_seen_on=row.first_seen_on,
        confirmed_on=row.confirmed_on,
        published_at=row.published_at,
        withdrawn_at=row.withdrawn_at,
        withdrawn_reason=row.withdrawn_reason,
        follows_id=row.follows_id,
        split_from_id=row.split_from_id,
        evidence=row.evidence,
        detector=row.detector,
        lead_unit=units[row.lead_unit_id] if row.lead_unit_id else None,
        unit_areas=row.unit_areas,
        overlaps=row.overlaps,
        verdict=row.verdict,
        verdict_ground=row.verdict_ground,
        verdict_ground_zh=row.verdict_ground_zh,
        severity=row.severity,
        establishment=row.establishment,
        redline_distance_m=row.redline_distance_m,
        verdicts=row.verdicts,
        judged_by=row.judged_by,
        verdict_now=row.verdict_now,
        review=review_answer(review, names),
    )


def change_answer(row: DetectionChange) -> DetectionChangeAnswer:
    return DetectionChangeAnswer(
        id=row.id,
        run_id=row.run_id,
        kind=row.kind,
        geometry=geojson(from_database(row.geom)),
        area_m2=row.area_m2,
        first_seen_on=row.first_seen_on,
        confirmed_on=row.confirmed_on,
        activity=row.activity,
        calibration=row.calibration,
        recorded_at=row.recorded_at,
    )


def review_answer(row: Review | None, names: dict[UUID, str]) -> ReviewAnswer:
    if row is None or row.version == 0:
        return ReviewAnswer(state=ReviewState.new, state_label=REVIEW_STATE_LABELS[ReviewState.new], version=0)
    is_claimed = claim_holds(row, utc_now())
    return ReviewAnswer(
        state=row.state,
        state_label=REVIEW_STATE_LABELS[row.state],
        version=row.version,
        reason=row.reason,
        note=row.note,
        case_id=row.case_id,
        claimed_by=names[row.claimed_by] if is_claimed and row.claimed_by else None,
        claimed_until=row.claimed_at + CLAIM_LASTS if is_claimed and row.claimed_at else None,
        proposed_by=names[row.proposed_by] if row.proposed_by else None,
        merged_into_id=row.merged_into_id,
        outline=_outline(row),
        decided_at=row.decided_at,
    )


def _outline(row: Review) -> OutlineAnswer | None:
    if row.geom is None or row.area_m2 is None:
        return None
    return OutlineAnswer(geometry=geojson(from_database(row.geom)), area_m2=row.area_m2, overlay=row.overlay or {})


def case_summaries(session: Session, cases: Sequence[Case]) -> list[CaseSummary]:
    units = load_units(
        session, (unit for row in cases for unit in (row.lead_unit_id, row.accepting_unit_id, row.dispatching_unit_id))
    )
    return [_summary(row, units) for row in cases]


def _summary(row: Case, units: Units) -> CaseSummary:
    return CaseSummary(
        id=row.id,
        number=row.number,
        state=row.state,
        state_label=STATE_LABELS[row.state],
        version=row.version,
        detection_id=row.detection_id,
        simulated=row.simulated,
        activity=row.activity,
        priority=row.priority,
        origin=row.origin,
        supervision_source=row.supervision_source,
        supervision_level=row.supervision_level,
        protected_area_level=row.protected_area_level,
        chain=row.chain,
        lead_unit=units[row.lead_unit_id],
        accepting_unit=units[row.accepting_unit_id],
        dispatching_unit=units[row.dispatching_unit_id],
        area_m2=row.area_m2,
        opened_at=row.opened_at,
        first_due_on=row.first_due_on,
        due_on=row.due_on,
        notice_until=row.notice_until,
    )


def participation_answers(session: Session, case: Case) -> list[ParticipationAnswer]:
    parts = parts_today(session, case)
    return _participations(parts, load_units(session, _of_parts(parts)))


def _of_parts(parts: Parts) -> set[UUID]:
    return {unit for (_, recorded), today in parts.items() for unit in (recorded, *today)}


def _participations(parts: Parts, units: Units) -> list[ParticipationAnswer]:
    return [
        ParticipationAnswer(
            kind=kind,
            unit=units[recorded],
            today=sorted((units[unit] for unit in today), key=lambda unit: unit.code),
        )
        for (kind, recorded), today in parts.items()
    ]


def case_answer(session: Session, row: Case) -> CaseAnswer:
    parts = parts_today(session, row)
    # Once for both: a page of a case is asked for all day.
    units = load_units(session, {*_of_parts(parts), row.lead_unit_id, row.accepting_unit_id, row.dispatching_unit_id})
    return CaseAnswer(
        **dict(_summary(row, units)),
        geometry=geojson(from_database(row.geom)),
        outline=row.outline,
        description=row.description,
        reported_on=row.reported_on,
        facts=row.facts,
        plan=row.plan,
        participations=_participations(parts, units),
    )


def link_answers(session: Session, caller: Caller, case: Case) -> list[CaseLinkAnswer]:
    """Both directions; links to cases that the caller may not see are left out."""
    answers = []
    for own, others in (
        (CaseLink.case_id, CaseLink.other_case_id),
        (CaseLink.other_case_id, CaseLink.case_id),
    ):
        statement = select(CaseLink.kind, Case.id, Case.number, Case.state).join(Case, Case.id == others)
        rows = session.execute(in_jurisdiction(statement.where(own == case.id), caller, Case).order_by(CaseLink.id))
        answers += [
            CaseLinkAnswer(
                kind=row.kind,
                is_younger=own is CaseLink.case_id,
                case_id=row.id,
                number=row.number,
                state=row.state,
            )
            for row in rows
        ]
    return answers


def event_answers(session: Session, events: Sequence[CaseEvent]) -> list[EventAnswer]:
    names = load_names(session, (event.actor_id for event in events))
    return [
        EventAnswer(
            sequence=row.sequence,
            id=row.id,
            case_id=row.case_id,
            case_sequence=row.case_sequence,
            kind=row.kind,
            actor=names[row.actor_id],
            actor_id=row.actor_id,
            actor_role=Role(row.actor_role),
            actor_unit_id=row.actor_unit_id,
            recorded_at=row.recorded_at,
            occurred_on=row.occurred_on,
            state_before=row.state_before,
            state_after=row.state_after,
            note=row.note,
            payload=row.payload,
            previous_hash=row.previous_hash.hex(),
            hash=row.hash.hex(),
        )
        for row in events
    ]


def review_event_answers(session: Session, events: Sequence[ReviewEvent]) -> list[ReviewEventAnswer]:
    names = load_names(session, (event.actor_id for event in events))
    return [
        ReviewEventAnswer(
            sequence=row.sequence,
            id=row.id,
            detection_id=row.detection_id,
            detection_sequence=row.detection_sequence,
            kind=row.kind,
            actor=names[row.actor_id],
            actor_id=row.actor_id,
            actor_role=Role(row.actor_role),
            actor_unit_id=row.actor_unit_id,
            recorded_at=row.recorded_at,
            state_before=row.state_before,
            state_after=row.state_after,
            note=row.note,
            payload=row.payload,
            previous_hash=row.previous_hash.hex(),
            hash=row.hash.hex(),
        )
        for row in events
    ]


def audit_answers(session: Session, audits: Sequence[ReviewAudit]) -> list[AuditAnswer]:
    names = load_names(session, (account for row in audits for account in (row.dismissed_by, row.decided_by)))
    return [
        AuditAnswer(
            id=row.id,
            detection_id=row.detection_id,
            review_version=row.review_version,
            reason=row.reason,
            dismissed_by=names[row.dismissed_by],
            drawn_at=row.drawn_at,
            outcome=row.outcome,
            note=row.note,
            decided_by=names[row.decided_by] if row.decided_by else None,
            decided_at=row.decided_at,
        )
        for row in audits
    ]
