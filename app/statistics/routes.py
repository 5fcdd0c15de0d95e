"""Statistics over HTTP."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from app.access.routes import CallerDep
from app.foundation.database import SessionDep
from app.foundation.errors import Invalid, problem_responses
from app.foundation.time import SHANGHAI
from app.statistics import service
from app.statistics.schemas import ClosureAnswer, GroupBy, UnitsAsOf

router = APIRouter(prefix="/statistics", tags=["statistics"])


@router.get("/closure", responses=problem_responses(401, 422))
def show_closure(
    session: SessionDep,
    caller: CallerDep,
    as_of: Annotated[
        str | None,
        Query(
            description=(
                "Time of recording: an instant with offset, or a date, which means the end of that day in "
                "Asia/Shanghai. Without it: now"
            ),
            examples=["2024-06-30", "2024-06-30T23:59:59+08:00"],
        ),
    ] = None,
    group_by: GroupBy = GroupBy.none,
    units: Annotated[
        UnitsAsOf,
        Query(description="Group by units as they were when each case was recorded, or by those that answer today"),
    ] = UnitsAsOf.now,
) -> ClosureAnswer:
    """Closure counts and rate (销号率) of the cases that the account may see, as they were recorded by an instant."""
    return service.closure(session, caller, None if as_of is None else parse_as_of(as_of), group_by, units)


_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def parse_as_of(text: str) -> datetime:
    """The last instant (UTC) that an `as_of` includes.

    Raises:
        Invalid: it is neither a date nor an instant with an offset.
    """
    try:
        if _DAY.fullmatch(text):
            midnight = datetime.combine(date.fromisoformat(text), time(), SHANGHAI) + timedelta(days=1)
            # The ledger counts in microseconds.
            return midnight.astimezone(UTC) - timedelta(microseconds=1)
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    detail = "must be a date from year 1 to 9998, or an instant with its offset; in an address + is written %2B"
    raise Invalid(f"as_of {detail}.", errors=[{"pointer": "query/as_of", "detail": detail}])
