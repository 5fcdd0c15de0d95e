"""The monitor for few images: made pairs of dates with a planted change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import GROUND
from detectors.monitors.sparse import SparseMonitor, season_of
from detectors.protocol import Monitor
from detectors.registry import make_monitor
from detectors.state import MonitorState, pack_dynamic, pack_fixed, unpack
from detectors.types import CLEAR, HIDDEN, NONE, SNOW, UNKNOWN, BlockHistory, Grid, RasterBlock, to_day

SIDE = 160
GRID = Grid("EPSG:4547", (2.0, 0.0, 500_000.0, 0.0, -2.0, 4_800_000.0), (SIDE, SIDE))
BANDS = ("blue", "green", "red", "nir")
FOREST, FIELD, SOIL = (np.array(s) for s in ((300, 550, 350, 3800), (700, 1000, 1200, 2600), (1300, 1700, 2100, 2600)))
# Within one wood.
PATCH = (slice(45, 75), slice(122, 158))


def image(day: datetime, seed: int, *, changed: bool, gain: float = 1.0) -> RasterBlock:
    """A view of one made ground: forest and fields with a fixed texture, noise of its own, perhaps a laid-open site."""
    ground = np.random.default_rng(7)
    field = (np.add.outer(np.arange(SIDE) // 40, np.arange(SIDE) // 40) % 2).astype(bool)
    spectra = np.where(field, FIELD[:, None, None], FOREST[:, None, None]).astype(float)
    spectra = spectra * (1 + 0.1 * ground.standard_normal((SIDE, SIDE)))
    if changed:
        spectra[:, *PATCH] = SOIL[:, None, None] * (1 + 0.1 * ground.standard_normal((30, 36)))
    noise = np.random.default_rng(seed).normal(0, 30, spectra.shape)
    data = np.clip(np.rint(spectra * gain + noise), 1, 10_000).astype(np.int16)
    return RasterBlock(data, np.full((SIDE, SIDE), CLEAR, np.uint8), GRID, BANDS, day)


def day(month: int, year: int = 2025) -> datetime:
    return datetime(year, month, 10, 3, tzinfo=UTC)


@pytest.fixture(scope="module")
def fitted() -> tuple[Monitor, MonitorState]:
    monitor = make_monitor("bitemporal")
    return monitor, monitor.fit(BlockHistory([image(day(6, 2024), 1, changed=False)]))


def share(mask: NDArray[np.bool_], inside: bool) -> float:
    within = np.zeros((SIDE, SIDE), np.bool_)
    within[PATCH] = True
    return float(mask[within == inside].mean())


def test_one_image_raises_suspicion_and_a_second_confirms(fitted: tuple[Monitor, MonitorState]) -> None:
    monitor, state = fitted
    one, coverage = monitor.update(state, image(day(6), 2, changed=True, gain=1.15))
    report = monitor.report(one)
    assert coverage.used == SIDE * SIDE and coverage.confirmed == 0
    assert share(report.first_seen == to_day(day(6)), True) > 0.9 and share(report.first_seen > 0, False) < 0.02
    assert not (report.confirmed > 0).any()
    two, coverage = monitor.update(one, image(day(7), 3, changed=True))
    report = monitor.report(two)
    assert coverage.confirmed > 0 and share(report.confirmed == to_day(day(7)), True) > 0.9
    table = monitor.changed(two, 1000, 2000)
    sure = table.take(table.confirmed > NONE)
    assert (sure.last_clear == to_day(day(6, 2024))).all() and set(sure.looks) == {2}
    assert sure.row.min() >= 1000 and sure.col.min() >= 2000
    middle = (abs(sure.row - 1060) < 10) & (abs(sure.col - 2140) < 12)
    np.testing.assert_allclose(np.median(sure.after[middle, :4], axis=0), SOIL / 10_000, rtol=0.08)
    assert np.isnan(sure.after[:, 4:]).all()
    assert np.median(sure.evidence[middle], axis=0)[0] > 3
    assert not monitor.ground(two).any() and GROUND[0] == "unknown"


def test_a_later_image_without_the_change_takes_the_suspicion_back(fitted: tuple[Monitor, MonitorState]) -> None:
    monitor, state = fitted
    one, _ = monitor.update(state, image(day(6), 2, changed=True))
    back, _ = monitor.update(one, image(day(7), 4, changed=False))
    assert share(monitor.report(back).first_seen > 0, True) < 0.02
    sure, _ = monitor.update(one, image(day(7), 3, changed=True))
    gone, _ = monitor.update(sure, image(day(8), 5, changed=False))
    table = monitor.changed(gone)
    assert (table.take(table.confirmed > NONE).recovered == to_day(day(8))).mean() > 0.9


def test_what_is_hidden_is_not_judged(fitted: tuple[Monitor, MonitorState]) -> None:
    monitor, state = fitted
    block = image(day(6), 2, changed=True)
    block.quality[:, :80] = HIDDEN
    block.quality[:, 150:] = SNOW
    one, coverage = monitor.update(state, block)
    assert coverage.used == SIDE * 70
    last, _ = monitor.last_looks(one)
    assert (last[:, :80] == to_day(day(6, 2024))).all() and (last[:, 80:150] == to_day(day(6))).all()
    clouds = replace(block, quality=np.full((SIDE, SIDE), HIDDEN, np.uint8))
    none, coverage = monitor.update(one, clouds)
    assert coverage.used == 0 and none.updated_until == to_day(day(6))
    for name, array in one.dynamic.items():
        np.testing.assert_array_equal(none.dynamic[name], array)


def test_ground_that_the_history_never_showed_is_unknown() -> None:
    monitor = SparseMonitor.create()
    first = image(day(6, 2024), 1, changed=False)
    first.quality[:20] = HIDDEN
    state = monitor.fit(BlockHistory([first]))
    state, _ = monitor.update(state, image(day(6), 2, changed=True))
    report = monitor.report(state)
    assert (report.first_seen[:20] == UNKNOWN).all() and (report.first_seen[20:] >= NONE).all()


def test_images_are_compared_with_the_nearest_season() -> None:
    monitor = SparseMonitor.create()
    winter = image(day(1, 2024), 1, changed=False, gain=0.5)
    winter = replace(winter, data=winter.data[::-1].copy())
    state = monitor.fit(BlockHistory([winter, image(day(7, 2024), 2, changed=False)]))
    assert list(season_of(np.array([to_day(day(1)), to_day(day(4)), to_day(day(7)), to_day(day(10))]))) == [0, 1, 2, 3]
    state, _ = monitor.update(state, image(day(6), 3, changed=True))
    table = monitor.changed(state)
    np.testing.assert_allclose(np.nanmedian(table.before[:, 3]), FOREST[3] / 10_000, rtol=0.35)
    assert share(monitor.report(state).first_seen > 0, True) > 0.9


def test_the_state_is_packed_whole_and_refused_elsewhere(fitted: tuple[Monitor, MonitorState]) -> None:
    monitor, state = fitted
    one, _ = monitor.update(state, image(day(6), 2, changed=True))
    again = unpack(pack_fixed(one), pack_dynamic(one))
    two, three = (monitor.update(s, image(day(7), 3, changed=True))[0] for s in (one, again))
    assert pack_dynamic(two) == pack_dynamic(three)
    with pytest.raises(ValueError, match="older than the state"):
        monitor.update(one, image(day(1), 3, changed=True))
    with pytest.raises(ValueError, match="made by"):
        make_monitor("bitemporal", {"apart_days": 30}).update(one, image(day(7), 3, changed=True))
