"""Lists and numbers of clocks over HTTP."""

from datetime import date, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from app.access.idempotency import IdempotentRoute
from app.access.routes import CallerDep
from app.casework import overdue as deadlines
from app.casework.calendars import calendar_of
from app.casework.deadline_request_schemas import (
    DeadlineCounts,
    DeadlineSummary,
    ListedDeadline,
    RuleDeadlines,
    UnitDeadlines,
)
from app.casework.overdue import LABELS, Counts, DeadlineFilters, Listed
from app.casework.vocabulary import DeadlineState, TrackKind
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.paging import Page, PageDep, link_next
from app.foundation.time import legal_day, utc_now

router = APIRouter(tags=["deadlines"], route_class=IdempotentRoute)
_CODE = "^[0-9A-Za-z_-]{1,40}$"
UnitQuery = Annotated[
    str | None,
    Query(pattern=_CODE, description="Clocks on which this unit or one below it has to act, or whose case it leads"),
]


@router.get("/deadlines", responses=problem_responses(400, 401, 422))
def list_deadlines(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    state: Annotated[DeadlineState | None, Query()] = None,
    rule: Annotated[str | None, Query(pattern="^[a-z_]{1,40}$", examples=["rectification"])] = None,
    overdue: Annotated[bool | None, Query(description="Running past its last day or hour")] = None,
    due_from: Annotated[date | None, Query(description="Last day on this day or later")] = None,
    due_before: Annotated[date | None, Query(description="Last day before this day")] = None,
    provisional: Annotated[bool | None, Query(description="Counted without a published calendar")] = None,
    unit: UnitQuery = None,
    acting: Annotated[str | None, Query(pattern=_CODE, description="The very unit that has to act, by code")] = None,
    track_kind: Annotated[TrackKind | None, Query(description="Of a side track of this kind")] = None,
) -> Page[ListedDeadline]:
    """Clocks of the cases that I may see, first due first."""
    given = DeadlineFilters(state, rule, overdue, due_from, due_before, provisional, unit, acting, track_kind)
    rows, cursor = deadlines.find_deadlines(session, caller, given, page, calendar_of(session), utc_now())
    link_next(request, response, cursor)
    return Page(items=[_answer(row) for row in rows])


@router.get("/deadlines/summary", responses=problem_responses(401, 422))
def summarise_deadlines(
    session: SessionDep,
    caller: CallerDep,
    request: Request,
    unit: UnitQuery = None,
    within_days: Annotated[int, Query(ge=0, le=366, description="Days ahead that count as due soon")] = 7,
) -> DeadlineSummary:
    """How many clocks run, are due soon, overdue or paused, by unit and by rule; each number links to its list."""
    now = utc_now()
    today = legal_day(now)
    found = deadlines.summarise(session, caller, unit, within_days, now)
    path = str(request.app.url_path_for("list_deadlines"))
    ahead = {"due_from": today.isoformat(), "due_before": (today + timedelta(days=within_days + 1)).isoformat()}

    def numbers(counts: Counts, **group: str) -> dict[str, Any]:
        common = ({"unit": unit} if unit else {}) | group
        queries = {
            "running": {"state": "running"},
            "due_soon": {"state": "running", "overdue": "false", **ahead},
            "overdue": {"overdue": "true"},
            "paused": {"state": "paused"},
        }
        return {
            "running": counts.running,
            "due_soon": counts.due_soon,
            "overdue": counts.overdue,
            "paused": counts.paused,
            "worst_days_overdue": counts.worst,
            "links": {name: f"{path}?{urlencode(common | query)}" for name, query in queries.items()},
        }

    return DeadlineSummary(
        on=today,
        due_within_days=within_days,
        total=DeadlineCounts(**numbers(found.total)),
        units=[
            UnitDeadlines(unit=code, unit_name=name, **numbers(counts, acting=code))
            for code, name, counts in found.units
        ],
        rules=[
            RuleDeadlines(rule=rule, rule_label=LABELS.get(rule, rule), **numbers(counts, rule=rule))
            for rule, counts in found.rules
        ],
    )


def _answer(row: Listed) -> ListedDeadline:
    clock = row.deadline
    return ListedDeadline(
        id=clock.id,
        case_id=clock.case_id,
        case_number=row.case_number,
        rule=clock.rule,
        rule_label=LABELS.get(clock.rule, clock.rule),
        track_id=clock.track_id,
        track_kind=row.track_kind,
        look_back_id=clock.look_back_id,
        state=clock.state,
        started_on=clock.started_on,
        first_due_on=clock.first_due_on,
        due_on=clock.due_on,
        due_at=clock.due_at,
        is_provisional=clock.is_provisional,
        acting_unit=row.acting_unit,
        lead_unit=row.lead_unit,
        overdue=row.is_overdue,
        days_overdue=row.days_overdue,
        calendar_days_overdue=row.calendar_days_overdue,
    )
