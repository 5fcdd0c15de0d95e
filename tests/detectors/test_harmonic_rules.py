"""Rules of the harmonic monitor that hang on days: two looks at one haze, old suspicions; and kinds of a few pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.kernels import decide
from detectors.monitors import baseline
from detectors.monitors.harmonic import HarmonicMonitor
from detectors.state import MonitorState
from detectors.types import CLEAR, SCALE, BlockHistory, Grid, RasterBlock, to_day
from tests.detectors.cubes import BANDS, GRID, LEAVES, MONITORED, SOIL, START, forest, series
from tests.detectors.test_harmonic_monitor import MONITOR, SQUARE

JULY = datetime.fromisoformat("2022-07-01T02:30:00+00:00")
INNER = np.zeros(GRID.shape, np.bool_)
INNER[5:8, 6:10] = True


@pytest.fixture(scope="module")
def learnt() -> MonitorState:
    """Forest, from a history without clouds that the mask missed."""
    return MONITOR.fit(BlockHistory([b for b in series(31, missed=0) if b.acquired < MONITORED]))


def look(days: int, changed: NDArray[np.bool_] | None = None) -> RasterBlock:
    """A cloudless look at the forest some days after the first of July 2022; some pixels are bare."""
    acquired = JULY + timedelta(days=days)
    spectra = np.broadcast_to(forest(acquired.timetuple().tm_yday)[:, None, None], (5, *GRID.shape)).copy()
    if changed is not None:
        spectra[:, changed] = SOIL[:, None]
    data = np.rint(spectra * SCALE).astype(np.int16)
    return RasterBlock(data, np.full(GRID.shape, CLEAR, np.uint8), GRID, BANDS, acquired)


def after(state: MonitorState, *looks: RasterBlock) -> MonitorState:
    for block in looks:
        state, _ = MONITOR.update(state, block)
    return state


@pytest.mark.parametrize("between", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("number", [2, 4])
def test_looks_within_a_few_days_do_not_confirm(learnt: MonitorState, between: int, number: int) -> None:
    """One haze or cloud field may last for days, and be seen by two sensors, or by one orbit beside another."""
    days = np.linspace(0, between, number).round().astype(int)
    state = after(learnt, look(-5), *(look(int(d), SQUARE) for d in days))
    report = MONITOR.report(state)
    # the scores are there: only the days are not
    assert (state.dynamic["score"].reshape(4, *GRID.shape)[:2].max(axis=0)[INNER] * decide.STEP >= 6).all()
    expected = to_day(JULY + timedelta(days=between)) if between >= MONITOR.parameters.apart_days else 0
    assert (report.confirmed[INNER] == expected).all()
    assert (report.first_seen[SQUARE] == to_day(JULY)).all()
    assert (report.confirmed[~SQUARE] == 0).all()


def test_one_more_look_confirms_what_was_seen_within_a_few_days(learnt: MonitorState) -> None:
    state = after(learnt, look(-5), look(0, SQUARE), look(1, SQUARE), look(6, SQUARE))
    assert (MONITOR.report(state).confirmed[SQUARE] == to_day(JULY + timedelta(days=6))).all()


@pytest.mark.parametrize("quiet", [2, 3, 5])
def test_suspicion_that_was_quiet_for_long_does_not_date_a_new_change(learnt: MonitorState, quiet: int) -> None:
    """Haze in September, leafless looks, which refute nothing, and a change in May."""
    haze, november, may = 81, 127, 323
    state = after(learnt, look(haze - 6), look(haze, SQUARE))
    for i in range(quiet):
        state = after(state, look(november + 6 * i))
        assert (MONITOR.report(state).first_seen[SQUARE] == to_day(JULY) + haze).all()
    state = after(state, *(look(may + 6 * i, SQUARE) for i in range(4)))
    report, pixels = MONITOR.report(state), MONITOR.changed(state)
    forgotten = quiet >= decide.QUIET_LOOKS
    assert (report.first_seen[SQUARE] == to_day(JULY) + (may if forgotten else haze)).all()
    assert (report.confirmed[SQUARE] >= to_day(JULY) + may).all()
    # what is told of it is of the new change, too
    assert (pixels.last_clear == to_day(JULY) + (november + 6 * (quiet - 1) if forgotten else haze - 6)).all()
    rows = state.dynamic["at"][state.dynamic["when"][:, decide.CONFIRMED_ON] > 0]
    assert len(rows) == SQUARE.sum()
    assert (state.dynamic["trace_looks"] == (4 if forgotten else 5)).all()


def test_look_at_a_time_of_year_never_seen_is_no_anomaly(learnt: MonitorState) -> None:
    fixed = {**learnt.fixed, "season": np.full_like(learnt.fixed["season"], baseline.UNSEEN)}
    state, coverage = MONITOR.update(replace(learnt, fixed=fixed), look(0, SQUARE))
    assert coverage.used == GRID.shape[0] * GRID.shape[1]
    assert coverage.anomalous == 0
    assert not state.dynamic["score"].any()
    assert MONITOR.update(learnt, look(0, SQUARE))[1].anomalous == SQUARE.sum()


WIDE = Grid(GRID.crs, GRID.transform, (40, 40))
ODD = np.zeros(WIDE.shape, np.bool_)
ODD[10:13, 20:24] = True


def two_covers(changed: datetime) -> Iterator[RasterBlock]:
    """Half forest, half evergreen, and a dozen pixels of a sort of their own, which are cleared at a time."""
    rng = np.random.default_rng(33)
    for offset in range(0, 1000, 8):
        moment = START + timedelta(days=offset)
        ground = np.empty((5, *WIDE.shape))
        ground[:, :20] = forest(moment.timetuple().tm_yday)[:, None, None]
        ground[:, 20:] = LEAVES[:, None, None]
        # green in winter, half as much in summer
        ground[:, ODD] = (SOIL if moment >= changed else 1.3 * LEAVES - 0.3 * forest(moment.timetuple().tm_yday) * 0.8)[
            :, None
        ]
        ground *= 1 + rng.normal(0, 0.02, ground.shape)
        quality = np.full(WIDE.shape, CLEAR, np.uint8)
        data = np.rint(ground * SCALE).astype(np.int16)
        yield RasterBlock(data, quality, WIDE, BANDS, moment)


def test_kind_of_a_few_odd_pixels_is_merged_so_that_it_is_not_blind() -> None:
    """Alone in a kind, they would be what is usual in it, and their change would be subtracted from themselves."""
    change = datetime.fromisoformat("2022-05-25T00:00:00+00:00")
    blocks = list(two_covers(change))
    monitor = HarmonicMonitor()
    state = monitor.fit(BlockHistory([b for b in blocks if b.acquired < MONITORED]))
    kind = state.fixed["kind"]
    sizes = np.bincount(kind)
    assert len(np.unique(kind)) >= 2
    assert sizes[sizes > 0].min() >= baseline.PIXELS_PER_KIND // 5
    # each of its kinds has enough pixels in the sample
    sampled = np.bincount(kind[state.fixed["sample"]], minlength=len(sizes))
    np.testing.assert_array_equal(sampled, np.minimum(sizes, baseline.PER_KIND))
    for block in blocks:
        if block.acquired >= MONITORED:
            state, _ = monitor.update(state, block)
    report = monitor.report(state)
    np.testing.assert_array_equal(report.confirmed > 0, ODD)
    assert (report.first_seen[ODD] <= to_day(change) + 8).all()


def test_small_kinds_go_to_what_they_resemble() -> None:
    rng = np.random.default_rng(0)
    centres = np.zeros((4, 12, 3))
    centres[1], centres[2], centres[3] = 0.5, -0.5, 0.65
    truth = rng.permutation(np.repeat([0, 1, 2, 3], [900, 700, 500, 20]))
    course = (centres[truth] + rng.normal(0, 0.01, (len(truth), 12, 3))).astype(np.float32)
    usable = rng.random(len(truth)) < 0.95
    kind = baseline._kinds(course, usable, 64)
    assert (kind[~usable] == 0).all()
    of_small = np.unique(kind[usable & (truth == 3)])
    assert len(of_small) == 1
    assert of_small[0] in np.unique(kind[usable & (truth == 1)])
    assert of_small[0] not in np.unique(kind[usable & ((truth == 0) | (truth == 2))])
    sizes = np.bincount(kind[usable])
    assert sizes[sizes > 0].min() >= baseline.PIXELS_PER_KIND // 5
