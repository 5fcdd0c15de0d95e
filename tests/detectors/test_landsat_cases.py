"""Real Landsat series with hard cases, from the tests of pyccd: see tests/data/landsat-series.

One pixel's series fills a window of 6 x 6: its neighbours confirm whatever it says, and there are too few pixels for
anything to be subtracted as common to all. So it is the most that one pixel can do wrong.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.monitors.harmonic import LEAST_OF_KIND, HarmonicMonitor
from detectors.state import MonitorState
from detectors.types import (
    BANDS,
    BASIS_OWN,
    CLEAR,
    EPOCH,
    HIDDEN,
    NOTHING,
    SNOW,
    BlockHistory,
    Grid,
    RasterBlock,
    to_day,
)

FOLDER = Path(__file__).parents[1] / "data" / "landsat-series"
CFMASK = {0: CLEAR, 1: CLEAR, 2: HIDDEN, 3: SNOW, 4: HIDDEN, 255: NOTHING}
JULIAN_DAY_OF_0001 = 1_721_425  # of noon before day 0 of Python's calendar, rounded up
SIDE = 6
GRID = Grid("EPSG:32610", (30.0, 0.0, 500_000.0, 0.0, -30.0, 5_200_000.0), (SIDE, SIDE))
LAKE = np.array([500, 500, 400, 200, 100, 80], np.int16)
assert SIDE * SIDE < LEAST_OF_KIND


def blocks(name: str) -> list[RasterBlock]:
    """The looks of a series, oldest first."""
    out = []
    for row in np.loadtxt(FOLDER / name, delimiter=",", dtype=np.int64):
        day = date.fromordinal(int(row[0]) - (JULIAN_DAY_OF_0001 if row[0] > 1_000_000 else 0))
        data = np.broadcast_to(row[1:7, None, None], (6, SIDE, SIDE)).astype(np.int16)
        quality = np.full((SIDE, SIDE), CFMASK[int(row[8])], np.uint8)
        out.append(RasterBlock(data, quality, GRID, BANDS, datetime.combine(day, time(18), UTC)))
    return sorted(out, key=lambda block: block.acquired)


def watch(series: list[RasterBlock], until: int) -> tuple[MonitorState, HarmonicMonitor, NDArray[np.int64]]:
    """The state after all, the monitor, and the day of every confirmation; the history ends with a year."""
    monitor = HarmonicMonitor()
    state = monitor.fit(BlockHistory([b for b in series if b.acquired.year <= until]))
    confirmed = []
    for block in series:
        if block.acquired.year > until:
            state, coverage = monitor.update(state, block)
            assert coverage.confirmed in (0, SIDE * SIDE)
            confirmed += [coverage.day] * bool(coverage.confirmed)
    return state, monitor, np.array(confirmed, np.int64)


HARD = ["persistent_snow.csv", "fmask_fail.csv"]


@pytest.mark.parametrize("until", [1994, 1999, 2004, 2009])
@pytest.mark.parametrize("name", HARD)
def test_snow_and_a_failing_mask_raise_no_alarm(name: str, until: int) -> None:
    state, monitor, confirmed = watch(blocks(name), until)
    report = monitor.report(state)
    assert len(confirmed) == 0
    assert (report.confirmed == 0).all()
    assert (report.first_seen == 0).all()
    # and not because nothing was looked at
    assert (report.basis == BASIS_OWN).all()
    late = [b for b in blocks(name) if b.acquired.year > until and (b.quality == CLEAR).all()]
    assert len(late) >= 10


@pytest.mark.parametrize("name", HARD)
def test_change_is_found_in_the_same_series(name: str) -> None:
    """So that the test above could fail: a lake rises in 2005."""
    flooded = [
        replace(b, data=np.broadcast_to(LAKE[:, None, None], b.data.shape).copy())
        if b.acquired.year >= 2005 and (b.quality == CLEAR).all()
        else b
        for b in blocks(name)
    ]
    _, _, confirmed = watch(flooded, 1999)
    assert len(confirmed) == 1
    assert confirmed[0] > to_day(date(2005, 1, 1))


@pytest.mark.parametrize(
    ("until", "years"), [(1994, [2004, 2011, 2015]), (1999, [2004, 2015]), (2004, [2015])], ids=str
)
def test_alarms_of_ordinary_ground_are_few_and_taken_back(until: int, years: list[int]) -> None:
    """What one pixel alone still gets wrong: a summer dry early (2004), and winters without green (2011, 2015)."""
    state, monitor, confirmed = watch(blocks("normal.csv"), until)
    found = [to_year(day) for day in confirmed]
    assert set(found) <= set(years)
    assert len(found) == len(set(found))
    assert (monitor.changed(state).recovered > 0).all()


def test_shade_that_the_mask_missed_raises_no_alarm() -> None:
    state, monitor, confirmed = watch(blocks("sample_1.csv"), 2013)
    assert len(confirmed) == 0
    assert (monitor.report(state).confirmed == 0).all()
    assert (monitor.report(state).first_seen == 0).all()


def to_year(day: int) -> int:
    return (EPOCH + timedelta(days=int(day))).year


def test_too_few_looks_are_said() -> None:
    state, monitor, _ = watch(blocks(HARD[0]), 1989)
    assert (monitor.report(state).confirmed == -1).all()
