"""How much of a lost green cover has come back, told from medians inside a polygon and in a ring around it.

One idea: what the polygon would look like today had nothing happened is what its ring looks like today plus what the
two differed by at this time of year before the change. So the year's weather, the leaves' calendar and a sensor's
offset, which polygon and ring share, drop out (before and after, control and impact: Stewart-Oaten et al. 1986; on
NDVI of restored land with reference sites: Meroni et al. 2017, "Remote sensing monitoring of land restoration
interventions in semi-arid environments with a before–after control-impact statistical design", Int. J. Appl. Earth
Obs. 59).

    expected(t) = ring(t) + d0(t)           d0: median of inside - ring, same time of year, before the change
    cover(t)    = (inside(t) - bare) / (expected(t) - bare)       scaled as Gutman and Ignatov 1998 scale NDVI
    share       = (now - after) / (1 - after)                     of `cover`: the level now, and right after the change

`share` is the recovery indicator of Kennedy et al. 2012 (regrowth over the change's own magnitude) against a baseline
that moves with the ring; 0.8 is the mark of "R80P" and "years to recovery" (Pickell et al. 2016, Int. J. Remote Sens.
37; White et al. 2017, Remote Sens. Environ. 194). Dividing by `expected` keeps a September, when all is paler, from
passing for regrowth. No database and no images here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Days = NDArray[np.int64]

# A reading counts from these shares of clear pixels on.
LEAST_CLEAR_INSIDE: Final = 0.5
LEAST_CLEAR_RING: Final = 0.3
# Readings in the growing season: before the change, and after it.
LEAST_BEFORE: Final = 8
LEAST_AFTER: Final = 5
# What "now" is the median of: so many of the newest readings, none this many days older than the newest.
RECENT: Final = 7
RECENT_DAYS: Final = 400
# The level right after the change is looked for in so many days.
AFTER_DAYS: Final = 400
BASELINE_YEARS: Final = 5
# The growing season: where the ring usually stands at this share of its own peak, or higher.
IN_LEAF: Final = 0.8
# A ring below this share of what it usually is on such a day was under haze or snow, or has changed itself.
STANDING: Final = 0.85
# Cover lost, at least; a smaller loss is not told from the noise of two medians.
LEAST_LOSS: Final = 0.2
# Scatter of `cover` before the change (standard deviation), above which nothing can be told from it.
MOST_SCATTER: Final = 0.15
# Between years inside and ring drift apart by some hundredths where too few years tell how much.
USUAL_DRIFT, LEAST_DRIFT = 0.05, 0.02
RECOVERED: Final = 0.8
LEAST_REGROWTH: Final = 0.2
_DRAWS: Final = 400
_INTERVAL: Final = (5.0, 95.0)


class Verdict(StrEnum):
    recovered = "recovered"
    recovering = "recovering"
    not_recovered = "not_recovered"
    undetermined = "undetermined"


class Reason(StrEnum):
    """Why nothing can be told."""

    few_before = "few_before"
    not_vegetated_before = "not_vegetated_before"
    unsteady_before = "unsteady_before"
    few_after = "few_after"
    reference_disturbed = "reference_disturbed"
    no_loss_seen = "no_loss_seen"


@dataclass(frozen=True, slots=True)
class Index:
    """An index of vegetation: what bare ground has in it, and the least that vegetated ground has in season."""

    name: str
    bare: float
    vegetated: float


# NDVI of bare soils lies at 0.05 to 0.25 (Montandon and Small 2008), NDMI (nir, swir16) of open soils below -0.1.
NDVI: Final = Index("ndvi", 0.15, 0.45)
NDMI: Final = Index("ndmi", -0.2, 0.0)


@dataclass(frozen=True, slots=True)
class Reading:
    """Medians of the clear pixels on one day; None: no clear pixel, or no such band. Shares are 0..1."""

    day: date
    inside_ndvi: float | None
    ring_ndvi: float | None
    inside_ndmi: float | None
    ring_ndmi: float | None
    clear_inside: float
    clear_ring: float


@dataclass(frozen=True)
class Share:
    """Share recovered with its interval of 90 %; `reason` where there is none.

    Attributes:
        first_on, last_on: of the readings that "now" is the median of.
        loss: share of the cover that was lost right after the change.
        cover: by position in the readings, `cover` of those that count.
    """

    reason: Reason | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    first_on: date | None = None
    last_on: date | None = None
    loss: float | None = None
    before: int = 0
    after: int = 0
    cover: dict[int, float] = field(default_factory=dict)

    def of(self, position: int) -> float | None:
        """The share at one reading by itself, noisy; None where it does not count or nothing can be told."""
        if self.loss is None or self.reason is not None or position not in self.cover:
            return None
        return 1 - (1 - self.cover[position]) / self.loss


@dataclass(frozen=True)
class Estimate:
    """The verdict, and the share by each index; NDMI has one only where there is a short-wave infrared band."""

    verdict: Verdict
    reason: Reason | None
    ndvi: Share
    ndmi: Share | None

    @property
    def share(self) -> Share:
        """The index that has come back less: green comes back in a year or two, wood and shade do not."""
        told = [one for one in (self.ndvi, self.ndmi) if one is not None and one.value is not None]
        return min(told, key=lambda one: one.value or 0.0) if told else self.ndvi


def estimate(readings: Sequence[Reading], last_clear: date, first_seen: date, until: date | None = None) -> Estimate:
    """The share recovered by the readings up to a day.

    Args:
        readings: oldest first. last_clear: last day of the baseline. first_seen: first day of the change.
    """
    days = np.array([reading.day.toordinal() for reading in readings], np.int64)
    known = np.array(
        [r.clear_inside >= LEAST_CLEAR_INSIDE and r.clear_ring >= LEAST_CLEAR_RING for r in readings], np.bool_
    ) & (days <= (until or date.max).toordinal())
    inside, ring = (_numbers(readings, name) for name in ("inside_ndvi", "ring_ndvi"))
    known &= np.isfinite(inside) & np.isfinite(ring)
    start = last_clear - timedelta(days=round(365.25 * BASELINE_YEARS))
    before = known & (days <= last_clear.toordinal()) & (days >= start.toordinal())
    after = known & (days >= first_seen.toordinal()) & (days > last_clear.toordinal())
    if int(before.sum()) < LEAST_BEFORE:
        return _undetermined(Share(Reason.few_before, before=int(before.sum()), after=int(after.sum())))
    usual = _same_season(days[before], ring[before], days)
    in_season = np.nan_to_num(usual, nan=-1.0) >= IN_LEAF * np.percentile(ring[before], 90)
    standing = np.divide(ring, usual, out=np.zeros_like(ring), where=in_season)
    counts = in_season & (standing >= STANDING)
    spans = _Spans(days, before & counts, after & counts, first_seen.toordinal())
    ndvi = _share(NDVI, inside, ring, spans)
    if ndvi.reason in (None, Reason.few_after) and _is_disturbed(days, after & in_season, standing):
        ndvi = Share(Reason.reference_disturbed, before=ndvi.before, after=ndvi.after)
    if ndvi.reason is not None:
        return _undetermined(ndvi)
    inside, ring = (_numbers(readings, name) for name in ("inside_ndmi", "ring_ndmi"))
    there = np.isfinite(inside) & np.isfinite(ring)
    ndmi = _share(NDMI, inside, ring, _Spans(days, spans.before & there, spans.after & there, spans.first))
    return Estimate(_verdict(ndvi, ndmi), None, ndvi, ndmi if ndmi.before or ndmi.after else None)


def _undetermined(ndvi: Share) -> Estimate:
    return Estimate(Verdict.undetermined, ndvi.reason, ndvi, None)


def _verdict(ndvi: Share, ndmi: Share) -> Verdict:
    """By the lower end of the interval of whichever index has come back less.

    Herbs green a clear cut within its first summer, while shade and wood water, which NDMI sees, are still gone.
    """
    lowest = min(one.low for one in (ndvi, ndmi) if one.low is not None)
    if lowest >= RECOVERED:
        return Verdict.recovered
    return Verdict.recovering if lowest >= LEAST_REGROWTH else Verdict.not_recovered


def _numbers(readings: Sequence[Reading], name: str) -> Floats:
    return np.array([np.nan if getattr(r, name) is None else getattr(r, name) for r in readings], np.float64)


@dataclass(frozen=True)
class _Spans:
    days: Days
    before: Bools
    after: Bools
    first: int


def _share(index: Index, inside: Floats, ring: Floats, spans: _Spans) -> Share:
    days, before, after = spans.days, spans.before, spans.after
    counted = Share(before=int(before.sum()), after=int(after.sum()))
    if counted.before < LEAST_BEFORE:
        return replace(counted, reason=Reason.few_before)
    if float(np.median(inside[before])) < index.vegetated:
        return replace(counted, reason=Reason.not_vegetated_before)
    apart = inside - ring
    usual = _same_season(days[before], apart[before], days)
    expected = ring + np.where(np.isnan(usual), np.median(apart[before]), usual)
    room = np.where(expected - index.bare > 0.1, expected - index.bare, np.nan)
    cover = np.clip((inside - index.bare) / room, -0.5, 1.5)
    before, after = before & np.isfinite(cover), after & np.isfinite(cover)
    scatter = 1.4826 * float(np.median(np.abs(cover[before] - np.median(cover[before]))))
    if scatter > MOST_SCATTER:
        return replace(counted, reason=Reason.unsteady_before)
    where = np.flatnonzero(after)
    told = {int(i): round(float(cover[i]), 4) for i in np.flatnonzero(before | after)}
    if where.size < LEAST_AFTER:
        return replace(counted, reason=Reason.few_after, cover=told)
    lowest = _lowest(cover, where[days[where] <= max(spans.first + AFTER_DAYS, days[where[LEAST_AFTER - 1]])])
    recent = where[-RECENT:]
    recent = recent[days[recent] > days[where[-1]] - RECENT_DAYS]
    if recent.size < LEAST_AFTER:
        return replace(counted, reason=Reason.few_after, cover=told)
    loss = 1 - float(np.median(cover[lowest]))
    if loss < max(LEAST_LOSS, 3 * scatter):
        return replace(counted, reason=Reason.no_loss_seen, loss=round(max(loss, 0.0), 4), cover=told)
    drift = _drift(days[before], cover[before])
    value = 1 - (1 - float(np.median(cover[recent]))) / loss
    low, high = _interval(cover[lowest], cover[recent], drift, scatter / np.sqrt(counted.before))
    first_on, last_on = (date.fromordinal(int(days[i])) for i in (recent[0], recent[-1]))
    return replace(
        counted,
        value=round(value, 4),
        low=round(min(low, value), 4),
        high=round(max(high, value), 4),
        first_on=first_on,
        last_on=last_on,
        loss=round(loss, 4),
        cover=told,
    )


def _same_season(known: Days, values: Floats, days: Days) -> Floats:
    """Median of what was known within 20 days of the same day of other years; of 30 or 45 where too little was."""
    apart = np.abs(known[None, :] - days[:, None]) % 365.25
    apart = np.minimum(apart, 365.25 - apart)
    result = np.full(len(days), np.nan)
    missing = np.ones(len(days), np.bool_)
    for reach in (20, 30, 45):
        near = apart[missing] <= reach
        found = _medians(np.where(near, values[None, :], np.nan), near.sum(axis=1))
        result[missing] = found
        missing = np.isnan(result)
    return result


def _medians(values: Floats, counts: NDArray[np.intp]) -> Floats:
    """Of each row the median of what is known in it; NaN where that is less than three. (`nanmedian` takes 8 times as
    long on such rows.)
    """
    in_order = np.sort(values, axis=1)  # what is not known comes last
    rows = np.arange(len(values))
    middle = np.maximum(counts - 1, 0)
    medians = (in_order[rows, middle // 2] + in_order[rows, (middle + 1) // 2]) / 2
    return np.where(counts >= 3, medians, np.nan)


def _lowest(cover: Floats, where: NDArray[np.intp]) -> NDArray[np.intp]:
    """The five readings in a row whose median is lowest: a change that grows is deepest once it has grown."""
    runs = np.lib.stride_tricks.sliding_window_view(where, LEAST_AFTER)
    return np.asarray(runs[int(np.argmin(np.median(cover[runs], axis=1)))])


def _drift(days: Days, cover: Floats) -> float:
    """Standard deviation of `cover` between the years of the baseline."""
    years = np.array([date.fromordinal(int(day)).year for day in days])
    middles = [float(np.median(cover[years == year])) for year in np.unique(years) if (years == year).sum() >= 3]
    return max(float(np.std(middles, ddof=1)), LEAST_DRIFT) if len(middles) >= 2 else USUAL_DRIFT


def _interval(lowest: Floats, recent: Floats, drift: float, baseline: float) -> tuple[float, float]:
    """90 %: readings drawn again (bootstrap), and moved by the drift between years and the baseline's own error."""
    rng = np.random.default_rng(1)
    after = np.median(rng.choice(lowest, (_DRAWS, lowest.size)), axis=1) + rng.normal(0, drift, _DRAWS)
    now = np.median(rng.choice(recent, (_DRAWS, recent.size)), axis=1) + rng.normal(0, drift, _DRAWS)
    shift = rng.normal(0, baseline, _DRAWS)
    share = (now - after) / np.maximum(1 + shift - after, LEAST_LOSS / 2)
    low, high = np.percentile(share, _INTERVAL)
    return float(low), float(high)


def _is_disturbed(days: Days, seen: Bools, standing: Floats) -> bool:
    """Whether the ring itself stood low in most looks of the last growing season."""
    where = np.flatnonzero(seen)
    if where.size < LEAST_AFTER:
        return False
    lately = where[days[where] > days[where[-1]] - RECENT_DAYS]
    return lately.size >= LEAST_AFTER and float(np.median(standing[lately])) < STANDING
