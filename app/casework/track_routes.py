"""Side tracks of cases over HTTP."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.models import Unit
from app.access.routes import CallerDep
from app.access.service import units_below
from app.casework import tracks
from app.casework.models import Case
from app.casework.supervision_models import Track
from app.casework.track_lifecycle import KIND_LABELS, STATES
from app.casework.track_schemas import STEP_FIELDS, OpenTrackBody, PossibleStep, TrackAnswer, TrackStepBody
from app.casework.vocabulary import TrackKind
from app.foundation.database import SessionDep
from app.foundation.errors import Invalid, problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.foundation.time import legal_day, utc_now

router = APIRouter(tags=["tracks"], route_class=IdempotentRoute)
_EXAMPLES: dict[str, Any] = {
    "penalty": {
        "summary": "A penalty case is filed",
        "value": {
            "kind": "penalty",
            "authority": "抚松县林业局",
            "reference": "抚林罚立〔2024〕7号",
            "cause": "未经批准占用林地采石",
        },
    },
    "procuratorial": {
        "summary": "A recommendation is received",
        "value": {
            "kind": "procuratorial",
            "authority": "抚松县人民检察院",
            "recommendation": "依法履行监管职责",
            "urgent": True,
        },
    },
}


@router.get("/tracks", responses=problem_responses(400, 401, 422))
def list_tracks(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    kind: Annotated[TrackKind | None, Query()] = None,
    state: Annotated[str | None, Query(pattern="^[a-z_]{1,40}$", examples=["filed"])] = None,
    overdue: Annotated[bool | None, Query(description="Whether a step was not taken in time")] = None,
    unit: Annotated[
        str | None,
        Query(pattern="^[0-9A-Za-z_-]{1,40}$", description="Cases led by this unit or one below it, by code"),
    ] = None,
) -> Page[TrackAnswer]:
    """Side tracks of the cases that I may see, newest first."""
    known = tracks.all_states() if kind is None else STATES[kind].keys()
    if state is not None and state not in known:
        raise Invalid(f"There is no state {state} of {kind or 'any track'}; there are {', '.join(sorted(known))}.")
    statement = tracks.select_tracks(
        caller, now=utc_now(), kind=kind, state=state, overdue=overdue, lead_units=lead_units_of(session, unit)
    )
    rows, cursor = fetch_page(session, statement, page, Track.id)
    link_next(request, response, cursor)
    numbers = select(Case.id, Case.number).where(Case.id.in_({row.case_id for row in rows}))
    number_of = {row.id: row.number for row in session.execute(numbers)}
    return Page(items=[_answer(row, number_of[row.case_id]) for row in rows])


def lead_units_of(session: Session, code: str | None) -> list[UUID] | None:
    """A unit and those below it, by its code; None: no filter.

    Raises:
        Invalid: there is no such unit.
    """
    if code is None:
        return None
    top = session.scalar(select(Unit.id).where(Unit.code == code))
    if top is None:
        raise Invalid(f"There is no supervising unit with the code {code}.")
    return units_below(session, top)


@router.get("/cases/{case_id}/tracks", responses=problem_responses(401, 404))
def list_case_tracks(case_id: UUID, session: SessionDep, caller: CallerDep) -> Page[TrackAnswer]:
    """All side tracks of a case, oldest first; few enough for one page."""
    case, rows = tracks.tracks_of(session, caller, case_id)
    return Page(items=[_answer(row, case.number) for row in rows])


@router.post("/cases/{case_id}/tracks", status_code=201, responses=problem_responses(401, 403, 404, 409, 422))
def open_case_track(
    case_id: UUID,
    body: Annotated[OpenTrackBody, Body(openapi_examples=_EXAMPLES)],
    session: SessionDep,
    caller: CallerDep,
    response: Response,
) -> TrackAnswer:
    """Open a side track; several of a kind may run. The case's state stays. See docs/tracks.md for who may."""
    track, case = tracks.open_track(session, caller, case_id, body, today=legal_day(utc_now()))
    set_etag(response, track.version)
    return _answer(track, case.number)


@router.get("/cases/{case_id}/tracks/{track_id}", responses=problem_responses(401, 404))
def show_case_track(
    case_id: UUID, track_id: UUID, session: SessionDep, caller: CallerDep, response: Response
) -> TrackAnswer:
    """One track. Its ETag is what a step needs in If-Match."""
    track, case = tracks.get_track(session, caller, case_id, track_id)
    set_etag(response, track.version)
    return _answer(track, case.number)


@router.get("/cases/{case_id}/tracks/{track_id}/transitions", responses=problem_responses(401, 404))
def list_track_transitions(
    case_id: UUID, track_id: UUID, session: SessionDep, caller: CallerDep, response: Response
) -> Page[PossibleStep]:
    """The commands that I may give on this track as it stands now, with what each must be given."""
    track, rows = tracks.possible_now(session, caller, case_id, track_id)
    set_etag(response, track.version)
    return Page(
        items=[
            PossibleStep(
                command=row.command,
                target=row.target,
                fields=row.fields,
                fields_schema=STEP_FIELDS[row.fields].model_json_schema(),
                law=row.law,
            )
            for row in rows
        ]
    )


@router.post(
    "/cases/{case_id}/tracks/{track_id}/transitions",
    responses=problem_responses(401, 403, 404, 409, 412, 422, 428),
)
def create_track_transition(
    case_id: UUID,
    track_id: UUID,
    body: TrackStepBody,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> TrackAnswer:
    """Take a step: the track and an event in its case's ledger are written together, or nothing is."""
    track, case = tracks.execute(
        session,
        caller,
        case_id,
        track_id,
        body.command,
        body.fields,
        expected_version=version,
        occurred_on=body.occurred_on,
        note=body.note,
        now=utc_now(),
    )
    set_etag(response, track.version)
    return _answer(track, case.number)


def _answer(row: Track, case_number: str) -> TrackAnswer:
    details = row.details
    return TrackAnswer(
        id=row.id,
        case_id=row.case_id,
        case_number=case_number,
        kind=row.kind,
        kind_label=KIND_LABELS[row.kind],
        state=row.state,
        state_label=STATES[row.kind][row.state].label,
        version=row.version,
        authority=row.authority,
        reference=row.reference,
        opened_on=row.opened_on,
        clock=details["clock"],
        clock_started_on=details["clock_started_on"],
        due_on=row.due_on,
        due_at=details.get("due_at"),
        overdue=tracks.is_overdue(row, utc_now()),
        ended_on=row.ended_on,
        outcome=row.outcome,
        facts=details["facts"],
        extensions=details["extensions"],
    )
