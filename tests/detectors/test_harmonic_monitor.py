from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from detectors.monitors import baseline
from detectors.monitors.harmonic import HarmonicMonitor
from detectors.protocol import Coverage, Monitor
from detectors.state import MonitorState, pack_dynamic, pack_fixed, unpack
from detectors.types import UNKNOWN, BlockHistory, ChangedPixels, ChangeMap, Codes, Numbers, RasterBlock, to_day
from tests.detectors.cubes import BANDS, GRID, LITTER, MONITORED, SOIL, WATER, series

CHANGE = datetime.fromisoformat("2022-06-20T00:00:00+00:00")
SQUARE = np.zeros(GRID.shape, np.bool_)
SQUARE[4:9, 5:11] = True

MONITOR = HarmonicMonitor()


def watch(blocks: Iterable[RasterBlock], monitor: Monitor = MONITOR) -> tuple[MonitorState, list[Coverage]]:
    everything = list(blocks)
    state = monitor.fit(BlockHistory([b for b in everything if b.acquired < MONITORED]))
    seen = []
    for block in everything:
        if block.acquired >= MONITORED:
            state, coverage = monitor.update(state, block)
            seen.append(coverage)
    return state, seen


def result(blocks: Iterable[RasterBlock]) -> ChangeMap:
    return MONITOR.report(watch(blocks)[0])


def inside(pixels: ChangedPixels) -> ChangedPixels:
    """The changed pixels of SQUARE."""
    return pixels.take(SQUARE[pixels.row, pixels.col])


@pytest.mark.parametrize(("after", "kind"), [(SOIL, 0), (SOIL, 1), (WATER, 2)])
def test_change_is_found_where_and_when_it_happened(after: np.ndarray, kind: int) -> None:
    state, _ = watch(series(1, changed=SQUARE, after=after, change=CHANGE))
    found, pixels = MONITOR.report(state), inside(MONITOR.changed(state))
    assert ((found.confirmed > 0) == SQUARE).mean() > 0.99
    day = to_day(CHANGE)
    assert np.median(found.first_seen[SQUARE] - day) <= 15
    assert np.median(found.confirmed[SQUARE] - day) <= 45
    assert (found.confirmed[SQUARE] >= found.first_seen[SQUARE]).all()
    assert np.median(day - pixels.last_clear) <= 20
    assert np.median(pixels.evidence[:, kind]) > 3
    np.testing.assert_allclose(np.nanmedian(pixels.after[:, :5], axis=0), after, atol=0.03)
    assert np.nanmedian(pixels.before[:, BANDS.index("nir")]) > 0.3


def test_stable_forest_with_snow_and_missed_cloud_is_not_flagged() -> None:
    found = result(series(2, missed=0.05))
    assert (found.confirmed > 0).sum() == 0
    assert (found.confirmed != UNKNOWN).all()


@pytest.mark.parametrize("late", [-12.0, 12.0])
def test_season_that_is_early_or_late_for_all_is_no_change(late: float) -> None:
    found = result(series(3, late=late))
    assert (found.confirmed > 0).mean() < 0.01


def test_snow_that_the_mask_missed_is_counted_not_used() -> None:
    _, seen = watch(series(4))
    winter = [c for c in seen if c.day < to_day(MONITORED) + 50]
    assert max(c.snow_share for c in winter) > 0.4
    assert max(c.clear_share for c in winter) < 0.1


def test_episode_of_a_single_look_is_withdrawn() -> None:
    end = CHANGE + timedelta(days=4)
    found = result(series(5, changed=SQUARE, change=CHANGE, until=end, cloud=0.2))
    assert (found.confirmed[SQUARE] > 0).mean() < 0.05
    assert (found.first_seen[SQUARE] > 0).mean() < 0.05


def test_leafless_season_neither_confirms_nor_refutes_a_loss_of_leaves() -> None:
    cut = datetime.fromisoformat("2022-09-20T00:00:00+00:00")
    found = result(series(6, changed=SQUARE, after=LITTER, change=cut))
    first = found.first_seen[SQUARE]
    assert (found.confirmed[SQUARE] > 0).mean() > 0.95
    assert (first >= to_day(cut)).mean() > 0.9  # a cloud just before may start it early


def test_second_change_on_ground_that_recovered_is_dated_anew() -> None:
    back = datetime.fromisoformat("2022-08-10T00:00:00+00:00")
    again = datetime.fromisoformat("2023-05-25T00:00:00+00:00")
    first = list(series(7, changed=SQUARE, change=CHANGE, until=back, cloud=0.2))
    second = list(series(7, changed=SQUARE, change=again, cloud=0.2))
    blocks = [a if a.acquired < again else b for a, b in zip(first, second, strict=True)]
    found = result(blocks)
    assert np.median(np.abs(found.first_seen[SQUARE] - to_day(again))) <= 10


def test_scene_without_swir_narrows_the_evidence() -> None:
    bands = ("blue", "green", "red", "nir")
    state, _ = watch(series(8, changed=SQUARE, change=CHANGE, bands=bands))
    found = MONITOR.report(state)
    assert state.bands == bands
    assert ((found.confirmed > 0) == SQUARE).mean() > 0.98
    assert MONITOR.changed(state).evidence[:, 1].max() == 0

    full, short = list(series(9)), list(series(9, bands=bands))
    mixed = [f if f.acquired < MONITORED else s for f, s in zip(full, short, strict=True)]
    _, seen = watch(mixed)
    assert seen[0].missing_bands == ("swir16",)
    assert sum(c.confirmed for c in seen) == 0


def test_short_history_is_said() -> None:
    blocks = [b for b in series(10) if b.acquired >= MONITORED - timedelta(days=90)]
    state, _ = watch(blocks)
    found = MONITOR.report(state)
    assert (found.confirmed == UNKNOWN).all()
    assert (found.first_seen == UNKNOWN).all()


def test_fit_does_not_depend_on_the_order_and_update_changes_nothing_it_is_given() -> None:
    blocks = list(series(11, changed=SQUARE, change=CHANGE))
    history = [b for b in blocks if b.acquired < MONITORED]
    one, other = MONITOR.fit(BlockHistory(history)), MONITOR.fit(BlockHistory(history[::-1]))
    for name in one.fixed:
        np.testing.assert_array_equal(one.fixed[name], other.fixed[name])
    kept = bytes(pack_fixed(one)), bytes(pack_dynamic(one))
    MONITOR.update(one, next(b for b in blocks if b.acquired > CHANGE))
    assert (bytes(pack_fixed(one)), bytes(pack_dynamic(one))) == kept


def test_stored_state_goes_on_bit_by_bit() -> None:
    blocks = list(series(12, changed=SQUARE, change=CHANGE))
    state = MONITOR.fit(BlockHistory([b for b in blocks if b.acquired < MONITORED]))
    fixed = bytes(pack_fixed(state))
    stored = state
    for block in blocks:
        if block.acquired >= MONITORED:
            state, _ = MONITOR.update(state, block)
            stored, _ = MONITOR.update(unpack(fixed, pack_dynamic(stored)), block)
    assert pack_fixed(state) == pack_fixed(stored) == fixed
    assert pack_dynamic(state) == pack_dynamic(stored)


def test_state_of_another_monitor_or_schema_is_refused() -> None:
    state = MONITOR.fit(BlockHistory([b for b in series(13) if b.acquired < MONITORED]))
    fixed, dynamic = pack_fixed(state), pack_dynamic(state)
    with pytest.raises(ValueError, match="was made by harmonic"):
        HarmonicMonitor.create(kinds=4).check(state)
    with pytest.raises(ValueError, match="header"):
        unpack(b"", dynamic)
    with pytest.raises(ValueError, match="schema version 9"):
        unpack(fixed.replace(b'"schema":2', b'"schema":9'), dynamic)
    with pytest.raises(ValueError, match="cut short"):
        unpack(fixed[:-1], dynamic)
    other = pack_dynamic(replace(state, history_until=state.history_until + 1))
    with pytest.raises(ValueError, match="belong together"):
        unpack(fixed, other)


def test_older_scene_and_other_grid_are_refused() -> None:
    blocks = list(series(14))
    state = MONITOR.fit(BlockHistory([b for b in blocks if b.acquired < MONITORED]))
    with pytest.raises(ValueError, match="older than the state"):
        MONITOR.update(state, blocks[0])
    with pytest.raises(ValueError, match="another grid"):
        MONITOR.update(state, replace(blocks[-1], grid=replace(GRID, crs="EPSG:32651")))
    with pytest.raises(ValueError, match="different grids"):
        BlockHistory([blocks[0], replace(blocks[1], grid=replace(GRID, crs="EPSG:32651"))])
    with pytest.raises(ValueError, match="empty"):
        BlockHistory([])


def test_narrow_strips_give_the_same_state_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many pixels are fitted at a time follows from the number of scenes; nothing else may."""
    grid = GRID.window(0, 0, (16, 13))
    blocks = [
        replace(b, grid=grid, data=b.data[:, :, :13].copy(), quality=b.quality[:, :13].copy())
        for b in series(5)
        if b.acquired < MONITORED
    ]

    class Strips(BlockHistory):
        seen: list[int]

        def rows(self, start: int, stop: int) -> tuple[Numbers, Codes]:
            self.seen.append(stop - start)
            return super().rows(start, stop)

    packed = []
    for looks, rows in ((1 << 21, {16}), (5 * 13 * len(blocks), {5, 1}), (1, {1})):
        history = Strips(blocks)
        history.seen = []
        monkeypatch.setattr(baseline, "STRIP_LOOKS", looks)
        state = MONITOR.fit(history)
        assert set(history.seen) == rows
        packed.append((bytes(pack_fixed(state)), bytes(pack_dynamic(state))))
    assert packed[0] == packed[1] == packed[2]


def test_first_and_last_look() -> None:
    seen = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 1]], np.bool_)
    first, last = baseline._span(np.array([100, 105, 120]), seen)
    assert first.tolist() == [0, 100, 105, 120]
    assert last.tolist() == [0, 120, 120, 120]
