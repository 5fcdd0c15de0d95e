"""Steps of deadlines that several tests take: a clock on a case, a request, a decision."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

import httpx2
from sqlalchemy.orm import Session

from app.casework.calendars import calendar_of
from app.casework.deadline_models import Deadline
from app.casework.deadline_rules import rule_in_force
from app.casework.deadlines import compute
from app.casework.models import Case
from app.casework.vocabulary import DeadlineState
from app.foundation.identity import new_id
from tests.casework_steps import Desk, add_detection
from tests.conftest import World


def add_clock(
    session: Session,
    case_id: str | UUID,
    rule: str,
    started_on: date,
    *,
    due_on: date | None = None,
    due_at: datetime | None = None,
    track_id: UUID | None = None,
    state: DeadlineState = DeadlineState.running,
) -> Deadline:
    """A clock of a case as an event would have started it; `due_on`: named, or put on a day for the test's sake."""
    case = session.get_one(Case, UUID(str(case_id)))
    row = rule_in_force(rule, started_on)
    due = due_on or compute(calendar_of(session), row, started_on).due_on
    if rule == "rectification":
        case.due_on = case.first_due_on = due
    deadline = Deadline(
        id=new_id(),
        case_id=case.id,
        track_id=track_id,
        rule=rule,
        rule_version=row.version,
        started_sequence=1,
        started_on=started_on,
        first_due_on=due,
        due_on=due,
        due_at=due_at,
        state=state,
        version=1,
    )
    session.add(deadline)
    session.flush()
    return deadline


def new_case(world: World, desk: Desk, **where: Any) -> dict[str, Any]:
    """A case that was just dispatched."""
    with world.database.transaction(see_all=True) as session:
        detection_id = add_detection(session, **where).id
    return desk.dispatch(detection_id)


def clock_of_case(world: World, case: dict[str, Any], rule: str, started_on: date, **named: Any) -> str:
    """The path of a clock put on a case."""
    with world.database.transaction(see_all=True) as session:
        return f"/cases/{case['id']}/deadlines/{add_clock(session, case['id'], rule, started_on, **named).id}"


def ask(desk: Desk, username: str, clock: str, **body: Any) -> httpx2.Response:
    return desk.post(username, f"{clock}/requests", {"reason": "现场条件所限"} | body, None)


def asked(desk: Desk, username: str, clock: str, **body: Any) -> dict[str, Any]:
    answer = ask(desk, username, clock, **body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["ETag"] == '"1"'
    request: dict[str, Any] = answer.json()
    return request


def act(
    desk: Desk, username: str, clock: str, request: dict[str, Any], what: str, version: int | None = None, **body: Any
) -> httpx2.Response:
    given = {"opinion": "情况属实"} if what in ("approve", "refuse") else {}
    path = f"{clock}/requests/{request['id']}/{what}"
    return desk.post(username, path, given | body, request["version"] if version is None else version)


def acted(desk: Desk, username: str, clock: str, request: dict[str, Any], what: str, **body: Any) -> dict[str, Any]:
    answer = act(desk, username, clock, request, what, **body)
    assert answer.status_code == 200, answer.text
    after: dict[str, Any] = answer.json()
    assert answer.headers["ETag"] == f'"{after["version"]}"' == f'"{request["version"] + 1}"'
    return after
