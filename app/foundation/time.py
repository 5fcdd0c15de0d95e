"""Instants are aware and UTC; legal days are days of Asia/Shanghai."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AwareDatetime

SHANGHAI = ZoneInfo("Asia/Shanghai")
EPOCH = date(1970, 1, 1)


def utc_now() -> datetime:
    return datetime.now(UTC)


def legal_day(instant: datetime) -> date:
    """The day in Asia/Shanghai on which an instant falls."""
    return instant.astimezone(SHANGHAI).date()


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH).days


def from_day_number(number: int) -> date:
    return EPOCH + timedelta(days=int(number))


Instant = Annotated[AwareDatetime, AfterValidator(lambda value: value.astimezone(UTC))]
