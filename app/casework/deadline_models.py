"""Tables of deadlines: clocks that run on cases, what was asked for to change them, notices, calendars."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, Index, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.access.models import text_enum
from app.casework.vocabulary import DeadlineState, NoticeKind, RequestKind, RequestState
from app.foundation.database import Base
from app.foundation.identity import new_id


class HolidayCalendar(Base):
    """A year's official arrangement of holidays (国务院办公厅节假日安排). Written once; the newest version holds."""

    __tablename__ = "holiday_calendars"
    __table_args__ = (UniqueConstraint("year", "version"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    year: Mapped[int] = mapped_column()
    version: Mapped[int] = mapped_column()
    # Days that differ from Monday-to-Friday: ISO day → `rest` or `work`.
    days: Mapped[dict[str, Any]] = mapped_column(JSONB)
    source: Mapped[str] = mapped_column(Text)
    imported_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    imported_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Deadline(Base):
    """A clock that runs, or ran, on a case, on one of its side tracks or on a look-back. Seen with its case.

    It follows from the ledger and from what was approved; `started_sequence` is the event that started it.
    """

    __tablename__ = "deadlines"
    __table_args__ = (
        Index("ix_deadlines_case_id", "case_id"),
        Index("ix_deadlines_open", "due_on", postgresql_where=text("state in ('running', 'paused')")),
        # One clock of a kind at a time.
        Index(
            "uq_deadlines_open",
            "case_id",
            "rule",
            "track_id",
            "look_back_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("state in ('running', 'paused')"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    track_id: Mapped[UUID | None] = mapped_column(ForeignKey("tracks.id"))
    look_back_id: Mapped[UUID | None] = mapped_column(ForeignKey("look_backs.id"))
    # Name and version of its row in `deadline_rules`.
    rule: Mapped[str] = mapped_column(Text)
    rule_version: Mapped[str] = mapped_column(Text)
    started_sequence: Mapped[int] = mapped_column(BigInteger)
    started_on: Mapped[date] = mapped_column()
    # The last day, Asia/Shanghai; as first computed or approved, and as it stands.
    first_due_on: Mapped[date] = mapped_column()
    due_on: Mapped[date] = mapped_column()
    # Where hours count.
    due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # A year on its way has no published calendar; its due day is computed again when that comes.
    is_provisional: Mapped[bool] = mapped_column(default=False)
    state: Mapped[DeadlineState] = mapped_column(text_enum(DeadlineState, "state"), default=DeadlineState.running)
    # The day of the step that it waited for, or that ended it.
    ended_on: Mapped[date | None] = mapped_column()
    was_late: Mapped[bool | None] = mapped_column()
    version: Mapped[int] = mapped_column(default=1)


class DeadlineRequest(Base):
    """A pause, an extension or an exclusion of time, with its reason: asked for, then decided by the unit above.

    Seen with its case.
    """

    __tablename__ = "deadline_requests"
    __table_args__ = (
        Index("ix_deadline_requests_case_id", "case_id"),
        Index("ix_deadline_requests_deadline_id", "deadline_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    deadline_id: Mapped[UUID] = mapped_column(ForeignKey("deadlines.id"))
    kind: Mapped[RequestKind] = mapped_column(text_enum(RequestKind, "kind"))
    # pause, exclusion: first and last day that do not count (a pause without a last day is open until resumed).
    from_on: Mapped[date | None] = mapped_column()
    to_on: Mapped[date | None] = mapped_column()
    # extension: days more, counted as the rule counts; or a new day where the day was named and not computed.
    days: Mapped[int | None] = mapped_column()
    new_due_on: Mapped[date | None] = mapped_column()
    # Why, as the rule's table names it (`hearing`, `appraisal`, `replanting_season`, …), and in words.
    ground: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    state: Mapped[RequestState] = mapped_column(text_enum(RequestState, "state"), default=RequestState.open)
    version: Mapped[int] = mapped_column(default=1)
    # The unit that asked: no account of it decides.
    unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"))
    requested_by: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    requested_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    decided_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    opinion: Mapped[str | None] = mapped_column(Text)


class DeadlineNotice(Base):
    """What the timetable noticed of a clock, once: due soon, overdue, escalated to a unit above. Written once.

    Seen with its case. Messages are made from it elsewhere, in the order of `sequence`.
    """

    __tablename__ = "deadline_notices"
    __table_args__ = (
        Index("ix_deadline_notices_case_id", "case_id"),
        # A due day that was moved is noticed anew.
        UniqueConstraint("deadline_id", "kind", "unit_id", "due_on", "days"),
    )

    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True, default=new_id)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    deadline_id: Mapped[UUID] = mapped_column(ForeignKey("deadlines.id"))
    kind: Mapped[NoticeKind] = mapped_column(text_enum(NoticeKind, "kind"))
    # To whom: the unit that has to act, or the one above it.
    unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"))
    due_on: Mapped[date] = mapped_column()
    # Which row of the rule it is for: days before the last one, or past it (overdue: 0), as the rule counts.
    days: Mapped[int] = mapped_column()
    noticed_on: Mapped[date] = mapped_column()
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
