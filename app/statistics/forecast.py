"""When what remains will be closed, and how much by the end of the year, if things go on as they went of late."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta

# Days, the last of them the day of the instant asked for, whose closures are the present pace.
WINDOW = 90
# Of the interval.
COVERAGE = 0.9


@dataclass(frozen=True)
class Forecast:
    """What the present pace leads to.

    Attributes:
        closures: in the `WINDOW`.
        per_day: the pace.
        zero_on: the day on which nothing remains; None: `reason` says why there is none.
        expected: closures of the year by its last day.
        low, high: interval of `COVERAGE` for them.
    """

    closures: int
    per_day: float
    zero_on: date | None
    reason: str | None
    expected: float
    low: int
    high: int


def forecast(*, closures: int, remaining: int, open_cases: int, done: int, today: date, year: int) -> Forecast:
    """Carry the present pace on.

    Closures are taken for a Poisson process whose rate stays what it was in the window: `closures` of it in `WINDOW`
    days, prior Gamma(1/2, 0) (Jeffreys). The number in the days that are left is then negative binomial with
    r = closures + 1/2, p = WINDOW / (WINDOW + days); the interval lies between its 5th and 95th percentile (Gelman et
    al., Bayesian Data Analysis, 3rd ed., section 2.6). Closures that come in batches scatter more than that.

    Args:
        closures: in the window.
        remaining: cases that have to be closed yet.
        open_cases: that could be closed; no more than these will be.
        done: closed in the year so far.
        today: the legal day of the instant asked for.
    """
    per_day = closures / WINDOW
    zero_on, reason = _zero_on(remaining, per_day, today)
    first, last = date(year, 1, 1), date(year, 12, 31)
    days = max((last - max(today, first - timedelta(days=1))).days, 0)
    low, high = _interval(closures, days)
    return Forecast(
        closures=closures,
        per_day=round(per_day, 4),
        zero_on=zero_on,
        reason=reason,
        expected=round(done + min(per_day * days, open_cases), 1),
        low=done + min(low, open_cases),
        high=done + min(high, open_cases),
    )


def _zero_on(remaining: int, per_day: float, today: date) -> tuple[date | None, str | None]:
    if remaining == 0:
        return None, "nothing remains"
    if per_day == 0:
        return None, f"nothing was closed in the last {WINDOW} days"
    try:
        return today + timedelta(days=math.ceil(remaining / per_day)), None
    except OverflowError:
        return None, "the present pace does not reach it within the calendar"


def _interval(closures: int, days: int) -> tuple[int, int]:
    if days == 0:
        return 0, 0
    # Half a second to load, and no other request needs it.
    from scipy.stats import nbinom

    tail = (1 - COVERAGE) / 2
    ahead = nbinom(closures + 0.5, WINDOW / (WINDOW + days))
    return int(ahead.ppf(tail)), int(ahead.ppf(1 - tail))
