"""The cases that a figure counts."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.casework.interval_models import CaseInterval
from app.casework.models import Case
from app.foundation.paging import PageRequest
from app.statistics.figure_schemas import CountedCase, CountedCases
from app.statistics.figures import Question, cell
from app.statistics.number_paging import cursor_of, read_cursor


def list_cases(
    session: Session, caller: Caller, question: Question, measure: str | None, page: PageRequest
) -> tuple[CountedCases, str | None]:
    """One page of the cases by number, and the cursor of the next.

    Raises:
        BadRequest: the cursor is not one that this list gave out.
        Invalid: as `figures.cell`.
    """
    effective, statement = cell(session, caller, question, measure)
    items, cursor = page_of(session, statement, page)
    return CountedCases(effective_as_of=effective, items=items), cursor


def page_of(session: Session, statement: Select[Any], page: PageRequest) -> tuple[list[CountedCase], str | None]:
    """One page by number, and the cursor of the next.

    Args:
        statement: selects interval, number and lead unit's code of cases.

    Raises:
        BadRequest: the cursor is not one that this list gave out.
    """
    if page.cursor:
        statement = statement.where(Case.number > read_cursor(page.cursor))
    rows = session.execute(statement.order_by(Case.number).limit(page.limit + 1)).all()
    items = [told(interval, number, code) for interval, number, code in rows[: page.limit]]
    return items, cursor_of(items[-1].number) if len(rows) > page.limit else None


def told(interval: CaseInterval, number: str, unit: str | None) -> CountedCase:
    """A case as it was in an interval."""
    same = {name: getattr(interval, name) for name in CountedCase.model_fields if hasattr(CaseInterval, name)}
    return CountedCase(**(same | {"id": interval.case_id, "number": number, "lead_unit": unit}))
