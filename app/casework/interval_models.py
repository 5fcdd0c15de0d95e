"""What a case was over an interval of recording time: the table that figures are counted from."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, ForeignKey, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.access.models import text_enum
from app.casework.lifecycle import CaseState
from app.foundation.database import Base
from app.foundation.identity import new_id


class CaseInterval(Base):
    """A case as its ledger had it from one event until the next one that said otherwise. Seen with its case.

    Written with the event (`intervals.keep`); all of it follows from the events and can be written anew from them.
    Those that last, one a case, and those that ended are two partitions (migration 0018), each with its keys: by case,
    and by case and sequence. Days are legal days (Asia/Shanghai), of happening unless said otherwise; areas are square
    metres.
    """

    __tablename__ = "case_intervals"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    # The event that it begins with.
    sequence: Mapped[int] = mapped_column(BigInteger)
    recorded_from: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # The instant of the event that ended it, not included; None: it lasts.
    recorded_to: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # The day on which the state was left, where it ended by that.
    left_on: Mapped[date | None] = mapped_column()

    state: Mapped[CaseState] = mapped_column(text_enum(CaseState, "state"))
    state_since: Mapped[date] = mapped_column()
    opened_on: Mapped[date] = mapped_column()
    # The first time that the field check came to an end; None where an import entered it in a later state.
    checked_on: Mapped[date | None] = mapped_column()
    # Whether it ever was; the day is None where an import entered it in a later state.
    confirmed: Mapped[bool] = mapped_column()
    confirmed_on: Mapped[date | None] = mapped_column()
    # Recorded day of the application for closure that stands.
    applied_on: Mapped[date | None] = mapped_column()
    closed_on: Mapped[date | None] = mapped_column()
    closures: Mapped[int] = mapped_column()
    reopenings: Mapped[int] = mapped_column()
    # Applications for closure that were sent back, at whichever step.
    returns: Mapped[int] = mapped_column()

    lead_unit_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    # The day on which the ledger learned it.
    lead_recorded_on: Mapped[date | None] = mapped_column()
    supervision_source: Mapped[str | None] = mapped_column(Text)
    # Every list in which it stands, the primary one too.
    sources: Mapped[list[str]] = mapped_column(ARRAY(Text))
    supervision_level: Mapped[str | None] = mapped_column(Text)
    activity: Mapped[str | None] = mapped_column(Text)
    priority: Mapped[str | None] = mapped_column(Text)
    origin: Mapped[str | None] = mapped_column(Text)
    simulated: Mapped[bool] = mapped_column()
    severity: Mapped[str | None] = mapped_column(Text)
    verdict: Mapped[str | None] = mapped_column(Text)
    protected_area_level: Mapped[str | None] = mapped_column(Text)
    zones: Mapped[list[str]] = mapped_column(ARRAY(Text))
    protected_areas: Mapped[list[str]] = mapped_column(ARRAY(Text))
    redlines: Mapped[list[str]] = mapped_column(ARRAY(Text))
    # Kind of key problem of protected areas (`green_shield`).
    key_problem: Mapped[str | None] = mapped_column(Text)

    # Of the first plan approved, for ever; the present one's, which a reopened case has not until its next approval.
    first_due_on: Mapped[date | None] = mapped_column()
    due_on: Mapped[date | None] = mapped_column()
    paused_days: Mapped[int] = mapped_column()
    later_permit: Mapped[bool] = mapped_column()
    boundary_change: Mapped[bool] = mapped_column()
    area_m2: Mapped[float | None] = mapped_column()
    # As the plan approved last has it.
    restoration_area_m2: Mapped[float | None] = mapped_column()

    # When the imagery knew of it.
    last_clear_on: Mapped[date | None] = mapped_column()
    first_seen_on: Mapped[date | None] = mapped_column()
    seen_confirmed_on: Mapped[date | None] = mapped_column()
    published_on: Mapped[date | None] = mapped_column()
