"""The cases that a figure counts."""

from __future__ import annotations

import base64

from sqlalchemy.orm import Session

from app.access.service import Caller
from app.casework.interval_models import CaseInterval
from app.casework.models import Case
from app.foundation.errors import BadRequest
from app.foundation.paging import PageRequest
from app.statistics.figure_schemas import CountedCase, CountedCases
from app.statistics.figures import Question, cell


def list_cases(
    session: Session, caller: Caller, question: Question, measure: str | None, page: PageRequest
) -> tuple[CountedCases, str | None]:
    """One page of the cases by number, and the cursor of the next.

    Raises:
        BadRequest: the cursor is not one that this list gave out.
        Invalid: as `figures.cell`.
    """
    effective, statement = cell(session, caller, question, measure)
    if page.cursor:
        statement = statement.where(Case.number > _read(page.cursor))
    rows = session.execute(statement.order_by(Case.number).limit(page.limit + 1)).all()
    items = [told(interval, number, code) for interval, number, code in rows[: page.limit]]
    cursor = _cursor(items[-1].number) if len(rows) > page.limit else None
    return CountedCases(effective_as_of=effective, items=items), cursor


def told(interval: CaseInterval, number: str, unit: str | None) -> CountedCase:
    """A case as it was in an interval."""
    same = {name: getattr(interval, name) for name in CountedCase.model_fields if hasattr(CaseInterval, name)}
    return CountedCase(**(same | {"id": interval.case_id, "number": number, "lead_unit": unit}))


def _cursor(number: str) -> str:
    return base64.urlsafe_b64encode(number.encode()).decode().rstrip("=")


def _read(cursor: str) -> str:
    try:
        number = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        number = ""
    if not number.startswith("RL-") or "\0" in number:
        raise BadRequest("The cursor is not one that this list gave out; start again without it.")
    return number
