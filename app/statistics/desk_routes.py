"""Figures of what came in, detections and clues, over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.access.routes import CallerDep
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.statistics import clue_figures, desk_figures
from app.statistics.asking import AsOf, parse_as_of
from app.statistics.clue_figures import ClueGroupBy
from app.statistics.desk_figures import DeskGroupBy
from app.statistics.desk_schemas import DeskAnswer

router = APIRouter(prefix="/statistics", tags=["statistics"])


@router.get("/dismissals", responses=problem_responses(401, 422))
def show_dismissals(
    session: SessionDep,
    caller: CallerDep,
    as_of: AsOf = None,
    group_by: Annotated[DeskGroupBy, Query(description="What to group by")] = DeskGroupBy.none,
) -> DeskAnswer:
    """What became of the detections that the account may see, and why they were dismissed."""
    return desk_figures.answer(session, caller, None if as_of is None else parse_as_of(as_of), group_by)


@router.get("/clues", responses=problem_responses(401, 422))
def show_clues(
    session: SessionDep,
    caller: CallerDep,
    as_of: AsOf = None,
    group_by: Annotated[ClueGroupBy, Query(description="What to group by")] = ClueGroupBy.none,
) -> DeskAnswer:
    """What became of the items of clue lists that the account may see, and of the cases made of them."""
    return clue_figures.answer(session, caller, None if as_of is None else parse_as_of(as_of), group_by)
