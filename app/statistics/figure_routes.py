"""Every report of figures, and the cases behind each figure, over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.access.routes import CallerDep
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.paging import PageDep, link_next
from app.statistics import counted_cases, figures
from app.statistics.asking import FiguresQueryDep
from app.statistics.dimensions import Dimension
from app.statistics.figure_schemas import CountedCases, FiguresAnswer
from app.statistics.reports import Report

router = APIRouter(prefix="/statistics", tags=["statistics"])


@router.get("/figures/{report}", responses=problem_responses(401, 422))
def show_figures(
    report: Report,
    session: SessionDep,
    caller: CallerDep,
    asked: FiguresQueryDep,
    rows: Annotated[Dimension | None, Query(description="Dimension to group by")] = None,
    columns: Annotated[Dimension | None, Query(description="A second one, crossed with it")] = None,
) -> FiguresAnswer:
    """A report of the cases that the account may see, as the ledger had them at an instant."""
    return figures.answer(session, caller, asked.question(report, rows, columns))


@router.get("/cases", responses=problem_responses(400, 401, 422))
def list_counted_cases(
    session: SessionDep,
    caller: CallerDep,
    request: Request,
    response: Response,
    asked: FiguresQueryDep,
    page: PageDep,
    report: Report = Report.closure,
    measure: Annotated[
        str | None,
        Query(description="Those alone that this figure counts; of a rate, its denominator", examples=["closed"]),
    ] = None,
) -> CountedCases:
    """The cases behind a figure, as they were counted, by number."""
    answer, cursor = counted_cases.list_cases(session, caller, asked.question(report), measure, page)
    link_next(request, response, cursor)
    return answer
