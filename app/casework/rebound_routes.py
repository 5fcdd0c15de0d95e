"""Rebound signals over HTTP."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, func, select

from app.access.idempotency import IdempotentRoute
from app.access.models import Unit
from app.access.routes import CallerDep
from app.access.schemas import UnitAnswer
from app.access.service import Caller, in_jurisdiction, units_below
from app.casework import rebounds
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.supervision_models import ReboundSignal
from app.casework.vocabulary import SignalState, UnitCode, Words
from app.foundation.database import SessionDep
from app.foundation.errors import Invalid, NotFound, problem_responses
from app.foundation.geometry import from_database, geojson
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.foundation.time import legal_day, utc_now
from app.monitoring.models import Confidence, Detection

router = APIRouter(prefix="/rebounds", tags=["rebounds"], route_class=IdempotentRoute)
DECISION = problem_responses(401, 403, 404, 409, 412, 422, 428)
UnitQuery = Annotated[UnitCode | None, Query(description="Cases led by this unit or one below it, by code")]


class ReboundDecision(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Words = Field(examples=["现场复核为林木自然倒伏"])


class ReboundAnswer(BaseModel):
    """反弹线索: new change on the ground of a closed case."""

    id: UUID
    version: int
    state: SignalState
    case_id: UUID
    case_number: str = Field(examples=["RL-220621-2024-0001"])
    case_state: CaseState
    detection_id: UUID
    detection_change_id: UUID | None = Field(description="The growth that raised it; null: the detection is new")
    confidence: Confidence | None = Field(
        description="Of the detection today; `low`: a suspicion; null: it touches no ground of yours"
    )
    activity: str | None = Field(examples=["mining"])
    geometry: dict[str, Any] = Field(description="What changed, GeoJSON MultiPolygon, longitude and latitude")
    area_m2: float
    first_seen_on: date = Field(description="Of growth, the last day of the imagery that showed it")
    last_clear_on: date | None = Field(
        description="Last clear view of the detection's ground before it changed: may lie before the closure"
    )
    raised_at: datetime
    reason: str | None = Field(description="Why it was affirmed or rejected")
    decided_at: datetime | None


class ReboundCounts(BaseModel):
    raised: int = Field(description="Not decided yet")
    affirmed: int
    rejected: int
    total: int


class UnitRebounds(ReboundCounts):
    unit: UnitAnswer = Field(description="The case's lead unit")


class ReboundSummary(BaseModel):
    """How many signals there were, and what became of them."""

    total: ReboundCounts
    units: list[UnitRebounds] = Field(description="By lead unit, in the order of their codes; those with any")


def _select(caller: Caller) -> Select[ReboundSignal]:
    statement: Select[ReboundSignal] = select(ReboundSignal).join(Case, Case.id == ReboundSignal.case_id)
    return in_jurisdiction(statement, caller, Case)


def _below(session: SessionDep, code: str) -> list[UUID]:
    top = session.scalar(select(Unit.id).where(Unit.code == code))
    if top is None:
        detail = f"there is no supervising unit with the code {code}"
        raise Invalid(f"unit: {detail}.", errors=[{"pointer": "query/unit", "detail": detail}])
    return units_below(session, top)


@router.get("", responses=problem_responses(400, 401, 422))
def list_rebounds(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    state: Annotated[SignalState | None, Query()] = None,
    unit: UnitQuery = None,
    case_id: Annotated[UUID | None, Query()] = None,
) -> Page[ReboundAnswer]:
    """Rebound signals of cases that I may see, newest first."""
    statement = _select(caller)
    if state:
        statement = statement.where(ReboundSignal.state == state)
    if unit:
        statement = statement.where(Case.lead_unit_id.in_(_below(session, unit)))
    if case_id:
        statement = statement.where(ReboundSignal.case_id == case_id)
    rows, cursor = fetch_page(session, statement, page, ReboundSignal.id)
    link_next(request, response, cursor)
    return Page(items=_answers(session, caller, rows))


@router.get("/summary", responses=problem_responses(401, 422))
def summarise_rebounds(session: SessionDep, caller: CallerDep, unit: UnitQuery = None) -> ReboundSummary:
    """Signals raised, affirmed and rejected, in all and by lead unit."""
    statement = in_jurisdiction(
        select(Case.lead_unit_id, ReboundSignal.state, func.count().label("number"))
        .join(ReboundSignal, ReboundSignal.case_id == Case.id)
        .group_by(Case.lead_unit_id, ReboundSignal.state),
        caller,
        Case,
    )
    if unit:
        statement = statement.where(Case.lead_unit_id.in_(_below(session, unit)))
    rows = session.execute(statement).all()
    units = session.scalars(select(Unit).where(Unit.id.in_({row.lead_unit_id for row in rows})).order_by(Unit.code))
    return ReboundSummary(
        total=ReboundCounts(**_counts(rows)),
        units=[
            UnitRebounds(
                unit=UnitAnswer.model_validate(one), **_counts([row for row in rows if row.lead_unit_id == one.id])
            )
            for one in units
        ],
    )


def _counts(rows: Sequence[Any]) -> dict[str, int]:
    by_state = {state.value: sum(row.number for row in rows if row.state is state) for state in SignalState}
    return {**by_state, "total": sum(by_state.values())}


@router.get("/{signal_id}", responses=problem_responses(401, 404))
def show_rebound(signal_id: UUID, session: SessionDep, caller: CallerDep, response: Response) -> ReboundAnswer:
    """One rebound signal. Its ETag is what a decision needs in If-Match."""
    signal = session.scalar(_select(caller).where(ReboundSignal.id == signal_id))
    if signal is None:
        raise NotFound()
    return _one(session, caller, response, signal)


@router.post("/{signal_id}/reject", responses=DECISION)
def reject_rebound(
    signal_id: UUID,
    given: ReboundDecision,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> ReboundAnswer:
    """Find that it is no rebound (the province). The case stays closed; the signal stays, with the reason."""
    return _one(session, caller, response, rebounds.reject(session, caller, signal_id, version, given.reason))


@router.post("/{signal_id}/affirm", responses=DECISION)
def affirm_rebound(
    signal_id: UUID,
    given: ReboundDecision,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> ReboundAnswer:
    """Reopen the case by this signal (the province): the command `reopen`, and every signal of the case is affirmed."""
    today = legal_day(utc_now())
    return _one(session, caller, response, rebounds.affirm(session, caller, signal_id, version, given.reason, today))


def _one(session: SessionDep, caller: Caller, response: Response, signal: ReboundSignal) -> ReboundAnswer:
    set_etag(response, signal.version)
    return _answers(session, caller, [signal])[0]


def _answers(session: SessionDep, caller: Caller, signals: list[ReboundSignal]) -> list[ReboundAnswer]:
    cases = {
        row.id: row
        for row in session.execute(
            select(Case.id, Case.number, Case.state).where(Case.id.in_({signal.case_id for signal in signals}))
        )
    }
    columns = (Detection.id, Detection.confidence, Detection.activity, Detection.last_clear_on)
    wanted = {signal.detection_id for signal in signals}
    statement = in_jurisdiction(select(*columns).where(Detection.id.in_(wanted)), caller, Detection)
    detections = {row.id: row for row in session.execute(statement)}
    return [_answer(signal, cases[signal.case_id], detections.get(signal.detection_id)) for signal in signals]


def _answer(signal: ReboundSignal, case: Any, detection: Any) -> ReboundAnswer:
    return ReboundAnswer(
        id=signal.id,
        version=signal.version,
        state=signal.state,
        case_id=case.id,
        case_number=case.number,
        case_state=case.state,
        detection_id=signal.detection_id,
        detection_change_id=signal.detection_change_id,
        confidence=detection.confidence if detection else None,
        activity=detection.activity if detection else None,
        geometry=geojson(from_database(signal.geom)),
        area_m2=signal.area_m2,
        first_seen_on=signal.first_seen_on,
        last_clear_on=detection.last_clear_on if detection else None,
        raised_at=signal.raised_at,
        reason=signal.reason,
        decided_at=signal.decided_at,
    )
