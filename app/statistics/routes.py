"""Closure statistics over HTTP, by the name that clients rely on; every report: `figure_routes`."""

from fastapi import APIRouter

from app.access.routes import CallerDep
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.statistics import service
from app.statistics.asking import AsOf, Units, parse_as_of
from app.statistics.schemas import ClosureAnswer, GroupBy, UnitsAsOf

router = APIRouter(prefix="/statistics", tags=["statistics"])


@router.get("/closure", responses=problem_responses(401, 422))
def show_closure(
    session: SessionDep,
    caller: CallerDep,
    as_of: AsOf = None,
    group_by: GroupBy = GroupBy.none,
    units: Units = UnitsAsOf.now,
) -> ClosureAnswer:
    """Closure counts and rate (销号率) of the cases that the account may see, as they were recorded by an instant."""
    return service.closure(session, caller, None if as_of is None else parse_as_of(as_of), group_by, units)
