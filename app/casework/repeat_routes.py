"""What was a case before on the same ground or of the same party, over HTTP."""

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app.access.routes import CallerDep
from app.access.service import get_placed
from app.casework import queue
from app.casework.answers import case_summaries
from app.casework.models import Case
from app.casework.repeats import Earlier, Why, earlier_cases, ground_of
from app.casework.schemas import CaseSummary
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.paging import Page
from app.monitoring.models import Detection

router = APIRouter(tags=["repeats"])


class RepeatAnswer(BaseModel):
    """屡犯: another case, and what it has to do with this site."""

    case: CaseSummary
    why: list[Why] = Field(description="The party by its code or, where not both have one, by its name")
    overlap_m2: float = Field(description="Common ground, square metres; 0: only the party is the same")


@router.get("/cases/{case_id}/repeats", responses=problem_responses(401, 404))
def list_case_repeats(case_id: UUID, session: SessionDep, caller: CallerDep) -> Page[RepeatAnswer]:
    """Other cases of the same party or on the same ground, of those that I may see: the largest common ground first,
    then the youngest; a hundred at most."""
    row: Case = get_placed(session, caller, Case, case_id)
    found = earlier_cases(session, caller, row.geom, simulated=row.simulated, party=row, without=row.id)
    return _page(session, found)


@router.get("/detections/{detection_id}/repeats", responses=problem_responses(401, 404))
def list_detection_repeats(detection_id: UUID, session: SessionDep, caller: CallerDep) -> Page[RepeatAnswer]:
    """Cases on the ground of a suspected site, of those that I may see: it may be linked to an open one."""
    row: Detection = get_placed(session, caller, Detection, detection_id)
    review = queue.reviews_of(session, caller, [row.id]).get(row.id)
    found = earlier_cases(session, caller, ground_of(review, row.geom), simulated=row.simulated)
    return _page(session, found)


def _page(session: Session, found: list[Earlier]) -> Page[RepeatAnswer]:
    summaries = case_summaries(session, [one.case for one in found])
    return Page(
        items=[
            RepeatAnswer(case=summary, why=list(one.why), overlap_m2=one.overlap_m2)
            for summary, one in zip(summaries, found, strict=True)
        ]
    )
