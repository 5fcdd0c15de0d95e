"""Deadlines and working calendars over HTTP."""

from uuid import UUID

from fastapi import APIRouter
from sqlalchemy import select

from app.access.idempotency import IdempotentRoute
from app.access.models import Role
from app.access.routes import CallerDep
from app.access.service import get_placed
from app.casework.calendar_imports import (
    CalendarFile,
    CalendarVersion,
    CalendarYear,
    calendar_years,
    import_calendar,
    version_answer,
)
from app.casework.calendars import calendar_of
from app.casework.deadline_models import Deadline
from app.casework.deadline_rules import RULES
from app.casework.deadline_schemas import DeadlineAnswer, DeadlineRuleAnswer, deadline_answer, rule_answer
from app.casework.deadlines import OPEN, changes_of_many
from app.casework.models import Case
from app.foundation.database import SessionDep
from app.foundation.errors import Forbidden, problem_responses
from app.foundation.paging import Page
from app.foundation.time import legal_day, utc_now

router = APIRouter(tags=["deadlines"], route_class=IdempotentRoute)


@router.get("/cases/{case_id}/deadlines", responses=problem_responses(401, 404))
def list_case_deadlines(case_id: UUID, session: SessionDep, caller: CallerDep) -> Page[DeadlineAnswer]:
    """All clocks of a case, of its side tracks and look-backs: what runs first, by due day; then the past, newest
    first. Few enough for one page.
    """
    case: Case = get_placed(session, caller, Case, case_id)
    rows = list(session.scalars(select(Deadline).where(Deadline.case_id == case.id)))
    running = sorted((row for row in rows if row.state in OPEN), key=lambda row: (row.due_on, row.id))
    past = sorted((row for row in rows if row.state not in OPEN), key=lambda row: row.id, reverse=True)
    calendar, now = calendar_of(session), utc_now()
    changes = changes_of_many(session, rows)
    return Page(
        items=[deadline_answer(calendar, case, row, changes[row.id], now, legal_day(now)) for row in [*running, *past]]
    )


@router.get("/deadline-rules", responses=problem_responses(401))
def list_deadline_rules(caller: CallerDep) -> Page[DeadlineRuleAnswer]:
    """The table of deadlines, each row with its source; see docs/deadlines.md."""
    return Page(items=[rule_answer(rule) for rule in RULES])


@router.get("/calendars", responses=problem_responses(401))
def list_calendars(session: SessionDep, caller: CallerDep) -> Page[CalendarYear]:
    """Working calendars by year, newest first: published, imported or missing, and every imported version."""
    return Page(items=calendar_years(session, today=legal_day(utc_now())))


@router.post("/calendars", status_code=201, responses=problem_responses(401, 403, 409, 422))
def create_calendar(body: CalendarFile, session: SessionDep, caller: CallerDep) -> CalendarVersion:
    """Import a year's official arrangement of holidays (administrators of the province).

    It becomes the year's newest version, which holds. Clocks that run through the year are counted anew within minutes,
    each with an event in its case's ledger.
    """
    caller.require(Role.admin)
    if not caller.is_provincial:
        raise Forbidden("Calendars hold for the whole province; only its own administrators import them.")
    return version_answer(import_calendar(session, caller, body, today=legal_day(utc_now())))
