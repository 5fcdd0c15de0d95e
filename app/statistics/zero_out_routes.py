"""The yearly zero-out (销号清零) over HTTP."""

from __future__ import annotations

from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from app.access.idempotency import IdempotentRoute
from app.access.routes import CallerDep
from app.casework.vocabulary import SupervisionSource
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.paging import Page, PageDep, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.foundation.time import legal_day, utc_now
from app.statistics import zero_out, zero_out_targets
from app.statistics.asking import AsOf, parse_as_of
from app.statistics.counted_cases import page_of
from app.statistics.figure_schemas import CountedCases
from app.statistics.zero_out import Asked, target_answer
from app.statistics.zero_out_schemas import (
    FIRST_YEAR,
    LAST_YEAR,
    ByUnits,
    ListKind,
    TargetAnswer,
    TargetRequest,
    ZeroOutAnswer,
)

router = APIRouter(prefix="/statistics/zero-out", tags=["statistics"], route_class=IdempotentRoute)
Year = Annotated[int | None, Query(ge=FIRST_YEAR, le=LAST_YEAR, description="Without it: this year")]
Source = Annotated[SupervisionSource | None, Query(description="One primary source")]


def _asked(
    year: Year = None,
    as_of: AsOf = None,
    source: Source = None,
    by: Annotated[ByUnits, Query(description="Rows by lead unit, or by its prefecture")] = ByUnits.unit,
) -> Asked:
    wanted = year or legal_day(utc_now()).year
    return Asked(wanted, None if as_of is None else parse_as_of(as_of), source, by)


AskedDep = Annotated[Asked, Depends(_asked)]


@router.get("", responses=problem_responses(401, 422))
def show_zero_out(session: SessionDep, caller: CallerDep, asked: AskedDep) -> ZeroOutAnswer:
    """Targets, plans and closures of a year by source and unit, with what the present pace leads to."""
    return zero_out.answer(session, caller, asked)


@router.get("/cases", responses=problem_responses(400, 401, 422))
def list_zero_out_cases(
    session: SessionDep,
    caller: CallerDep,
    request: Request,
    response: Response,
    asked: AskedDep,
    page: PageDep,
    kind: ListKind = ListKind.remaining,
    unit: Annotated[
        str | None, Query(max_length=40, pattern=r"^[^\x00]+$", description="Code; stands for all below it")
    ] = None,
    confirmed_by: Annotated[date | None, Query(description="Those alone that were confirmed by this day")] = None,
) -> CountedCases:
    """The task list: cases to be closed in the year, those that were, or those that remain; by number."""
    effective, statement = zero_out.listed(session, caller, asked, kind, unit, confirmed_by)
    items, cursor = page_of(session, statement, page)
    link_next(request, response, cursor)
    return CountedCases(effective_as_of=effective, items=items)


@router.post("/targets", status_code=201, responses=problem_responses(401, 403, 412, 422, 428))
def set_target(
    body: TargetRequest, expected: ExpectedVersion, session: SessionDep, caller: CallerDep, response: Response
) -> TargetAnswer:
    """Set a target, or a new version of it (province). `If-Match`: the version that it takes the place of, or "0"."""
    row = zero_out_targets.set_target(session, caller, body, expected)
    set_etag(response, row.version)
    return target_answer(session, row)


@router.get("/targets", responses=problem_responses(400, 401, 422))
def list_targets(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    year: Year = None,
    source: Source = None,
    superseded: Annotated[bool, Query(description="Older versions too")] = False,
) -> Page[TargetAnswer]:
    """Targets of the account's unit and of those below it, newest first."""
    rows, cursor = zero_out_targets.listed(session, caller, page, year, source, superseded=superseded)
    link_next(request, response, cursor)
    return Page(items=[target_answer(session, row) for row in rows])


@router.get("/targets/{target_id}", responses=problem_responses(401, 404))
def show_target(target_id: UUID, session: SessionDep, caller: CallerDep, response: Response) -> TargetAnswer:
    """One version of a target."""
    row = zero_out_targets.get(session, caller, target_id)
    set_etag(response, row.version)
    return target_answer(session, row)
