"""On what a document of figures stands: the instant that it answers for, and the end of the ledger then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import Caller, enter
from app.casework.models import CaseEvent
from app.foundation.database import set_scope
from app.statistics.dimensions import Dimension
from app.statistics.figures import Counted, Question


@dataclass(frozen=True)
class Standing:
    """Until which event of the ledger a document tells.

    Attributes:
        asked, effective: the instant asked for and the one answered for.
        sequence: of the last event recorded by then; 0: there was none. head: its hash, hexadecimal.
    """

    asked: datetime
    effective: datetime
    sequence: int
    head: str


def standing_of(session: Session, caller: Caller, found: Counted) -> Standing:
    """On what counted figures stand: what is recorded after them is none of it.

    The sequence is the whole ledger's: it tells how many events there were, of no case.
    """
    set_scope(session, None)  # one number and one hash of the whole ledger, and the wall is back below
    last = session.execute(
        select(CaseEvent.sequence, CaseEvent.hash)
        .where(CaseEvent.recorded_at <= found.effective)
        .order_by(CaseEvent.recorded_at.desc(), CaseEvent.sequence.desc())
        .limit(1)
    ).first()
    enter(session, caller)
    return Standing(found.asked, found.effective, last.sequence if last else 0, last.hash.hex() if last else "")


def pinned(question: Question, first: Counted) -> Question:
    """The question at the very instant and days that its first report was answered for, whatever is recorded since."""
    period = (first.days.first, first.days.last)
    return replace(question, as_of=first.effective, on=first.days.today, period=period)


def scope_name(session: Session, caller: Caller, question: Question) -> str:
    """Whose figures they are: the units asked for, or that of the account."""
    by_unit = (Dimension.unit, Dimension.prefecture, Dimension.province)
    codes = [code for dimension in by_unit for code in question.filters.get(dimension, ())]
    if codes:
        names = session.execute(select(Unit.code, Unit.name).where(Unit.code.in_(codes)))
        told = {row.code: row.name for row in names}
        return "、".join(dict.fromkeys(told.get(code, code) for code in codes))
    own = session.get_one(Unit, caller.unit_id)
    return own.name
