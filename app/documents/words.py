"""Days, numbers and shares as Chinese documents write them."""

from __future__ import annotations

import math
from datetime import date, datetime
from decimal import Decimal

from app.foundation.time import SHANGHAI

MU_M2 = 2000 / 3


def day(value: date | None) -> str:
    """GB/T 9704-2012, 7.3.5.4: Arabic numerals, month and day without a zero before them."""
    return "" if value is None else f"{value.year}年{value.month}月{value.day}日"


def short_day(value: date | None) -> str:
    """For the cells of tables."""
    return "" if value is None else value.isoformat()


def moment(value: datetime | None) -> str:
    """An instant, by the clock of Asia/Shanghai."""
    return "" if value is None else value.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")


def area(value_m2: float | None, digits: int = 1) -> str:
    return "" if value_m2 is None else f"{value_m2:,.{digits}f}"


def mu(value_m2: float | None) -> str:
    """亩: 2000/3 m²."""
    return "" if value_m2 is None else f"{float(value_m2) / MU_M2:,.2f}"


def percent(share: float | None) -> str:
    """A share of 1, to a tenth of a per cent. What is not all is never rounded up to it, nor what is something to 0."""
    if share is None:
        return "—"
    tenths = math.floor(Decimal(str(share)) * 1000 + Decimal("0.5"))
    if tenths >= 1000 > share * 1000:
        tenths = 999
    if tenths == 0 and share > 0:
        tenths = 1
    return f"{tenths / 10:.1f}%"


def count(value: float | int | None) -> str:
    return "—" if value is None else f"{value:,}"
