"""Whether a site was a case before: the same party, or the same ground (屡犯).

The party of a case is known by its unified social credit code where one is given (统一社会信用代码, GB 32100-2015), and
by its name in a form in which spaces, widths, brackets and the legal form make no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from geoalchemy2 import WKBElement
from sqlalchemy import ColumnElement, and_, case, false, func, or_, select
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.casework.review_models import Review
from app.foundation.database import run_sql

# Two outlines that only meet, or that a pixel's noise lets overlap, are two grounds.
LEAST_OVERLAP_M2: Final = 100.0
# Cases on one ground or of one party that an answer lists, the youngest first.
MOST: Final = 100

# States of what was no problem, or is counted as another case.
_NOTHING: Final = (CaseState.unfounded, CaseState.merged, CaseState.withdrawn)


class Why(StrEnum):
    same_party = "same_party"
    same_ground = "same_ground"


@dataclass(frozen=True)
class Earlier:
    """A case that a site has to do with.

    Attributes:
        overlap_m2: common ground in square metres; 0: only the party is the same.
    """

    case: Case
    why: tuple[Why, ...]
    overlap_m2: float


def earlier_cases(
    session: Session,
    caller: Caller,
    ground: WKBElement,
    *,
    simulated: bool,
    party: Case | None = None,
    without: UUID | None = None,
) -> list[Earlier]:
    """Cases on a ground or of a party, of those that the caller may see; the largest common ground first, then the
    youngest; at most `MOST`.

    Args:
        ground: valid, longitude and latitude (EPSG:4490).
        simulated: cases of simulated imagery, or real ones; one is no repeat of the other.
        party: the case whose party is meant; None: the ground alone.
        without: the case itself.
    """
    overlap = _overlap_m2(ground)
    same = _same_party(Case, party) if party is not None else false()
    statement = in_jurisdiction(select(Case, overlap.label("overlap_m2"), same.label("party")), caller, Case)
    on_ground = and_(Case.geom.op("&&")(ground), overlap >= LEAST_OVERLAP_M2)
    statement = statement.where(Case.simulated == simulated, or_(same, on_ground))
    if without is not None:
        statement = statement.where(Case.id != without)
    rows = session.execute(statement.order_by(overlap.desc(), Case.id.desc()).limit(MOST))
    return [_earlier(row.Case, bool(row.party), row.overlap_m2) for row in rows]


def _earlier(found: Case, same_party: bool, overlap_m2: float) -> Earlier:
    on_ground = overlap_m2 >= LEAST_OVERLAP_M2
    why = [Why.same_party] * same_party + [Why.same_ground] * on_ground
    return Earlier(found, tuple(why), round(overlap_m2, 1) if on_ground else 0.0)


def _same_party(row: type[Case], other: Case) -> ColumnElement[bool]:
    """By code; by name where not both have one, since two companies of one name have two codes."""
    asked: list[ColumnElement[bool]] = []
    if other.party_code is not None:
        asked.append(row.party_code == other.party_code)
    if other.party_key is not None:
        same_name = row.party_key == other.party_key
        asked.append(same_name if other.party_code is None else and_(same_name, row.party_code.is_(None)))
    return func.coalesce(or_(false(), *asked), false())


def _overlap_m2(geom: WKBElement) -> Any:
    # Of the party's other cases, most lie elsewhere and nothing is cut.
    return case((Case.geom.op("&&")(geom), _common_m2(Case.geom, geom)), else_=0.0)


def _common_m2(one: Any, other: Any) -> Any:
    # A single outline that crosses itself would keep every other from being shown.
    common = func.ST_Intersection(func.ST_MakeValid(one), func.ST_MakeValid(other))
    return func.ST_Area(func.Geography(func.ST_CollectionExtract(common, 3)))


_BEFORE = """
    select from cases other
    where other.simulated = mine.simulated and other.state <> all(%(nothing)s)
        and (other.opened_at, other.id) < (mine.opened_at, mine.id)
        and (%(units)s::uuid[] is null or other.unit_ids && %(units)s::uuid[])
"""
# Written out: built anew for every page, it took as long as the rest of the answer. A question for each index.
_REPEATS = f"""
    select mine.id from cases mine where mine.id = any(%(cases)s) and (
        exists ({_BEFORE} and other.party_code = mine.party_code)
        or exists ({_BEFORE} and other.party_key = mine.party_key
            and (other.party_code is null or mine.party_code is null))
        or exists ({_BEFORE} and other.geom && mine.geom
            and ST_Area(geography(ST_CollectionExtract(
                ST_Intersection(ST_MakeValid(other.geom), ST_MakeValid(mine.geom)), 3))) >= %(least)s)
    )
"""  # noqa: S608  # constants


def are_repeats(session: Session, caller: Caller, cases: Sequence[Case]) -> set[UUID]:
    """Those of a page of cases before which there was another one, of the same party or on the same ground, that the
    caller may see; by one query. What came to nothing was no case before.
    """
    values = {
        "cases": [row.id for row in cases],
        "nothing": [state.value for state in _NOTHING],
        "units": None if caller.units is None else list(caller.units),
        "least": LEAST_OVERLAP_M2,
    }
    return set(run_sql(session, _REPEATS, values).scalars())


def ground_of(review: Review | None, geom: WKBElement) -> WKBElement:
    """A detection's outline as an officer drew it, else the imagery's."""
    return review.geom if review is not None and review.geom is not None else geom
