"""The one place where it is decided whether a step of a side track is taken, and where it is.

The tables stand in `track_lifecycle`. A step changes the track and writes one event into its case's ledger; the case's
own state and version stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Select, and_, or_, select
from sqlalchemy.orm import Session

from app.access.service import Caller, get_placed, in_jurisdiction
from app.casework.deadline_rules import rule_in_force
from app.casework.deadlines import Due, due_of_track, follow_track, is_late
from app.casework.guards import invalid
from app.casework.ledger import append
from app.casework.lifecycle import Actor, CaseState
from app.casework.models import Case, CaseEvent
from app.casework.participation import actors_of
from app.casework.supervision_models import Track
from app.casework.track_lifecycle import (
    OPENINGS,
    RECORDERS,
    STATES,
    STEPS,
    Recorder,
    Step,
    TrackCommand,
    clock_of,
    extensions_of,
    steps_from,
)
from app.casework.track_schemas import STEP_FIELDS, OpenTrackBody, TrackFields
from app.casework.transitions import check_version, lock_cases
from app.casework.vocabulary import TrackKind, pointers
from app.foundation.errors import Conflict, Forbidden, Invalid, NotFound
from app.foundation.identity import new_id
from app.foundation.time import legal_day

_INSTANT = "%Y-%m-%dT%H:%M:%SZ"


def refusal(what: str, recorder: Recorder, caller: Caller, actors: frozenset[Actor]) -> Forbidden | None:
    """Why this account may not record `what` on a case in which its unit takes part as `actors`; None: it may."""
    may = RECORDERS[recorder]
    if caller.role not in may:
        roles = ", ".join(sorted(may))
        return Forbidden(f"{what} needs the role {roles}; you are signed in as {caller.role}.")
    if not may[caller.role] & actors:
        return Forbidden(f"{what} is for the units that answer for the case or stand above; yours does not.")
    return None


def open_track(
    session: Session, caller: Caller, case_id: UUID, body: OpenTrackBody, *, today: date
) -> tuple[Track, Case]:
    """Open a side track of a case.

    Raises:
        NotFound: no such case in the caller's jurisdiction.
        Forbidden: the caller does not record this kind on this case.
        Conflict: the case is merged or withdrawn.
        Invalid: it began in the future, or its due day does not lie after it.
    """
    state, recorder = OPENINGS[body.kind]
    case = _lock_case(session, caller, case_id)
    problem = refusal(f"opening a track of kind {body.kind}", recorder, caller, actors_of(session, caller, case))
    if problem:
        raise problem
    if case.state in (CaseState.merged, CaseState.withdrawn):
        raise Conflict(f"The case is {case.state} and takes no new tracks.", state=case.state.value)
    day = body.occurred_on or today
    if day > today:
        raise invalid("occurred_on", "lies in the future")
    common = {"kind", "authority", "reference", "occurred_on", "note"}
    facts = body.model_dump(mode="json", exclude=common, exclude_none=True)
    track = Track(
        id=new_id(),
        case_id=case.id,
        kind=body.kind,
        state=state,
        version=1,
        authority=body.authority,
        reference=body.reference,
        opened_on=day,
        details={"facts": {"open": facts}, "opening": facts, "extensions": [], "stepped_on": str(day)},
    )
    due = _named_day(facts, day, "due_on")
    session.add(track)
    _run_clock(session, track, day, due, None)
    session.flush()
    given = {"authority": body.authority, "reference": body.reference} | facts
    event = _record(session, caller, case, track, "open", None, day, body.note, given, is_late=False)
    follow_track(session, case, track, event)
    return track, case


def execute(
    session: Session,
    caller: Caller,
    case_id: UUID,
    track_id: UUID,
    command: TrackCommand,
    fields: Mapping[str, Any],
    *,
    expected_version: int,
    occurred_on: date | None,
    note: str | None,
    now: datetime,
) -> tuple[Track, Case]:
    """Take a step of a track: its new state, clock and event, or nothing.

    Raises:
        NotFound: no such track of a case in the caller's jurisdiction.
        Forbidden: the caller does not record this.
        StaleVersion: the track changed since `expected_version`.
        Conflict: not possible in the track's state, or extended as often as the law allows.
        Invalid: a field is missing or wrong.
    """
    case = _lock_case(session, caller, case_id)
    track = session.scalar(
        select(Track)
        .where(Track.id == track_id, Track.case_id == case.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if track is None:
        raise NotFound()
    step = STEPS.get((track.kind, command))
    if step is None:
        raise _impossible(track, command)
    problem = refusal(command, step.recorder, caller, actors_of(session, caller, case))
    if problem:
        raise problem
    check_version(track.version, expected_version)
    if track.state not in step.sources:
        raise _impossible(track, command)
    given = _read(step, fields)
    instant: datetime | None = getattr(given, step.instant) if step.instant else None
    day = _day(track, occurred_on, instant, now, step)
    _check_days(given, legal_day(now))

    before = track.state
    was_late = _is_late(track, now, day, instant)
    told = given.model_dump(mode="json", exclude_none=True)
    _change(track, step, given, told, day)
    _run_clock(session, track, day, _named_day(told, day, "fields/due_on"), instant)
    track.version += 1
    session.flush()
    event = _record(session, caller, case, track, command.value, before, day, note, told, is_late=was_late)
    follow_track(session, case, track, event, instant)
    return track, case


def _is_late(track: Track, now: datetime, day: date, instant: datetime | None) -> bool:
    """Whether the clock of a track's state ran out before this step."""
    if track.due_on is None:
        return False
    told = track.details.get("due_at")
    rule = rule_in_force(track.details["clock"], date.fromisoformat(track.details["clock_started_on"]))
    due = Due(track.due_on, datetime.fromisoformat(told) if told else None)
    return is_late(rule, due, now, day, instant)


def _change(track: Track, step: Step, given: TrackFields, told: dict[str, Any], day: date) -> None:
    """State, outcome and facts; what the clock makes of it comes after."""
    details = dict(track.details)
    details["facts"] = details["facts"] | {step.command.value: told}
    details["stepped_on"] = str(day)
    if step.command is TrackCommand.extend:
        details["extensions"] = [*details["extensions"], _extension(track, told, day)]
    track.details = details
    track.state = step.target or track.state
    ends = STATES[track.kind][track.state].ends
    track.ended_on = day if ends else None
    track.outcome = str(getattr(given, "outcome", track.state)) if ends else None


def _extension(track: Track, told: dict[str, Any], day: date) -> dict[str, Any]:
    clock = track.details["clock"]
    rules = extensions_of(clock)
    number = sum(row["clock"] == clock for row in track.details["extensions"])
    if track.due_on is not None and day > track.due_on:
        raise Conflict(f"The clock {clock} ran out on {track.due_on}; it is extended before its last day is over.")
    if number >= len(rules):
        raise Conflict(f"The clock {clock} has been extended {number} times, as often as the law allows.")
    if told["days"] > rules[number].most_days:
        raise invalid("fields/days", f"extension {number + 1} of this clock is at most {rules[number].most_days} days")
    return told | {"clock": clock}


def _run_clock(session: Session, track: Track, day: date, named: date | None, instant: datetime | None) -> None:
    """Set the clock of the track's state: the same goes on, with what was added to it; another starts on `day`."""
    clock = clock_of(track.kind, track.state, track.details["opening"])
    details = {key: value for key, value in track.details.items() if key != "due_at"}
    if clock is None:
        track.details = details | {"clock": None, "clock_started_on": None}
        track.due_on = None
        return
    if details.get("clock") != clock.name:
        details |= {"clock": clock.name, "clock_started_on": str(day)}
    track.details = details
    due = due_of_track(session, track, named=named, instant=instant)
    track.due_on = due.due_on if due else None
    if due and due.due_at:
        track.details = details | {"due_at": _text(due.due_at)}


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime(_INSTANT)


def _named_day(told: Mapping[str, Any], day: date, pointer: str) -> date | None:
    if told.get("due_on") is None:
        return None
    due = date.fromisoformat(told["due_on"])
    if due <= day:
        raise invalid(pointer, f"does not lie after {day}, the day of this step")
    return due


def _read(step: Step, fields: Mapping[str, Any]) -> TrackFields:
    try:
        return STEP_FIELDS[step.fields].model_validate(fields)
    except ValidationError as error:
        errors = pointers(error.errors(include_url=False), "fields")
        names = ", ".join(item["pointer"] for item in errors)
        raise Invalid(f"Mend these fields: {names}.", errors=errors) from None


def _day(track: Track, occurred_on: date | None, instant: datetime | None, now: datetime, step: Step) -> date:
    """The day of the step: that of its instant where hours count; not in the future, not before the step before it."""
    if instant is not None and instant > now:
        raise invalid(f"fields/{step.instant}", "lies in the future")
    day = legal_day(instant) if instant else occurred_on or legal_day(now)
    if instant and occurred_on not in (None, day):
        raise invalid("occurred_on", f"is not {day}, the day of {step.instant}")
    if day > legal_day(now):
        raise invalid("occurred_on", "lies in the future")
    if str(day) < track.details["stepped_on"]:
        raise invalid("occurred_on", f"lies before {track.details['stepped_on']}, the day of the step that it follows")
    return day


def _check_days(given: TrackFields, today: date) -> None:
    document_on: date | None = getattr(given, "document_on", None)
    if document_on is not None and document_on > today:
        raise invalid("fields/document_on", "lies in the future")


def _record(
    session: Session,
    caller: Caller,
    case: Case,
    track: Track,
    command: str,
    before: str | None,
    day: date,
    note: str | None,
    told: Mapping[str, Any],
    *,
    is_late: bool,
) -> CaseEvent:
    payload = {
        "track_id": str(track.id),
        "track_kind": track.kind.value,
        "track_version": track.version,
        "before": before,
        "after": track.state,
        "clock": track.details["clock"],
        "due_on": track.due_on.isoformat() if track.due_on else None,
        "due_at": track.details.get("due_at"),
        "late": is_late,
        # Below a key of their own: what stands at the top of a payload speaks of the case.
        "fields": dict(told),
    }
    kind = f"{track.kind}.{command}"
    return append(session, caller, case, kind, state_before=case.state, occurred_on=day, note=note, payload=payload)


def _impossible(track: Track, command: TrackCommand) -> Conflict:
    possible = [step.command.value for step in steps_from(track.kind, track.state)]
    now = ", ".join(possible) or "nothing"
    return Conflict(
        f"{command} is not possible while the track is {track.state}. Possible now: {now}.",
        state=track.state,
        possible=possible,
    )


def _lock_case(session: Session, caller: Caller, case_id: UUID) -> Case:
    cases = lock_cases(session, caller, [case_id])
    if case_id not in cases:
        raise NotFound()
    return cases[case_id]


def tracks_of(session: Session, caller: Caller, case_id: UUID) -> tuple[Case, list[Track]]:
    """All tracks of a case, oldest first."""
    case: Case = get_placed(session, caller, Case, case_id)
    return case, list(session.scalars(select(Track).where(Track.case_id == case.id).order_by(Track.id)))


def get_track(session: Session, caller: Caller, case_id: UUID, track_id: UUID) -> tuple[Track, Case]:
    """One track of a case.

    Raises:
        NotFound: none, or the case lies outside the caller's jurisdiction.
    """
    case: Case = get_placed(session, caller, Case, case_id)
    track = session.scalar(select(Track).where(Track.id == track_id, Track.case_id == case.id))
    if track is None:
        raise NotFound()
    return track, case


def possible_now(session: Session, caller: Caller, case_id: UUID, track_id: UUID) -> tuple[Track, list[Step]]:
    """The steps that the caller may take on a track as it stands."""
    track, case = get_track(session, caller, case_id, track_id)
    actors = actors_of(session, caller, case)
    rows = steps_from(track.kind, track.state)
    return track, [row for row in rows if refusal(row.command, row.recorder, caller, actors) is None]


def select_tracks(
    caller: Caller,
    *,
    now: datetime,
    kind: TrackKind | None = None,
    state: str | None = None,
    overdue: bool | None = None,
    lead_units: list[UUID] | None = None,
) -> Select[Track]:
    """Tracks of the cases in the caller's jurisdiction, by filters."""
    statement = in_jurisdiction(select(Track).join(Case, Case.id == Track.case_id), caller, Case)
    if kind is not None:
        statement = statement.where(Track.kind == kind)
    if state is not None:
        statement = statement.where(Track.state == state)
    if overdue is not None:
        statement = statement.where(_is_overdue(now) if overdue else ~_is_overdue(now))
    if lead_units is not None:
        statement = statement.where(Case.lead_unit_id.in_(lead_units))
    return statement


def _is_overdue(now: datetime) -> ColumnElement[bool]:
    past = or_(Track.due_on < legal_day(now), Track.details["due_at"].astext < _text(now))
    return and_(Track.ended_on.is_(None), past.is_(True))


def is_overdue(track: Track, now: datetime) -> bool:
    """Whether the step that its clock waits for was not taken in time. A term that lapses after the end is no delay."""
    due_at = track.details.get("due_at")
    past = bool(track.due_on and track.due_on < legal_day(now)) or bool(due_at and due_at < _text(now))
    return past and track.ended_on is None


def all_states() -> frozenset[str]:
    """Every state of every kind."""
    return frozenset(state for states in STATES.values() for state in states)
