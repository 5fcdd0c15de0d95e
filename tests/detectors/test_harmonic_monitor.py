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
from detectors.types import (
    BASIS_NEIGHBOUR,
    BASIS_NOTHING,
    BASIS_OWN,
    HIDDEN,
    UNKNOWN,
    BlockHistory,
    ChangedPixels,
    ChangeMap,
    Codes,
    Numbers,
    RasterBlock,
    to_day,
)
from tests.detectors.cubes import BANDS, GRID, LEAVES, LITTER, MONITORED, SOIL, WATER, series

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
    assert np.median(pixels.looks) >= 10
    assert np.median(pixels.seen_until) >= state.updated_until - 60
    peaks = dict(zip(pixels.peak_years, np.median(pixels.peaks, axis=0) / 200, strict=True))
    leaves = (LEAVES[3] - LEAVES[2]) / (LEAVES[3] + LEAVES[2])
    assert peaks[2020] == pytest.approx(leaves, abs=0.03)
    assert peaks[2021] == pytest.approx(leaves, abs=0.03)
    assert peaks[2022] == pytest.approx(max((after[3] - after[2]) / (after[3] + after[2]), 0.005), abs=0.04)
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


BACK = datetime.fromisoformat("2022-08-10T00:00:00+00:00")
AGAIN = datetime.fromisoformat("2023-05-25T00:00:00+00:00")


def changed_twice() -> list[RasterBlock]:
    first = series(7, changed=SQUARE, change=CHANGE, until=BACK, cloud=0.2)
    second = series(7, changed=SQUARE, change=AGAIN, cloud=0.2)
    return [a if a.acquired < AGAIN else b for a, b in zip(first, second, strict=True)]


def test_ground_that_looks_as_before_has_recovered_and_stays_confirmed() -> None:
    state, _ = watch(series(7, changed=SQUARE, change=CHANGE, until=BACK, cloud=0.2))
    found, pixels = MONITOR.report(state), inside(MONITOR.changed(state))
    assert (found.confirmed[SQUARE] > 0).mean() > 0.95
    assert (pixels.recovered[pixels.confirmed > 0] >= to_day(BACK)).all()
    assert np.median(pixels.recovered - to_day(BACK)) <= 40


def test_second_change_on_ground_that_recovered_is_dated_anew() -> None:
    state, _ = watch(changed_twice())
    found, pixels = MONITOR.report(state), inside(MONITOR.changed(state))
    assert np.median(np.abs(found.first_seen[SQUARE] - to_day(AGAIN))) <= 10
    assert (found.confirmed[SQUARE] >= to_day(AGAIN)).all()
    assert (pixels.recovered == 0).all()
    np.testing.assert_allclose(np.nanmedian(pixels.after[:, :5], axis=0), SOIL, atol=0.03)


def test_second_change_is_described_when_it_is_confirmed() -> None:
    blocks = changed_twice()
    state = MONITOR.fit(BlockHistory([b for b in blocks if b.acquired < MONITORED]))
    for block in (b for b in blocks if b.acquired >= MONITORED):
        state, _ = MONITOR.update(state, block)
        pixels = MONITOR.changed(state)
        fresh = pixels.take(pixels.confirmed == block.day)
        assert np.isfinite(fresh.after[:, :5]).all()
        assert (fresh.evidence.max(axis=1) > 0).all()


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


def test_change_is_found_in_scenes_that_lack_a_band_of_the_history() -> None:
    full = series(9, changed=SQUARE, change=CHANGE)
    short = series(9, changed=SQUARE, change=CHANGE, bands=("blue", "green", "red", "nir"))
    mixed = [f if f.acquired < MONITORED or f.day % 2 else s for f, s in zip(full, short, strict=True)]
    state, seen = watch(mixed)
    assert {c.missing_bands for c in seen} == {(), ("swir16",)}
    assert ((MONITOR.report(state).confirmed > 0) == SQUARE).mean() > 0.98
    pixels = inside(MONITOR.changed(state))
    np.testing.assert_allclose(np.nanmedian(pixels.after[:, :5], axis=0), SOIL, atol=0.03)


@pytest.mark.parametrize(("every", "kept"), [(12, True), (3, False)])
def test_band_that_some_scenes_of_the_history_lack(every: int, kept: bool) -> None:
    full = list(series(15, changed=SQUARE, change=CHANGE))
    short = list(series(15, changed=SQUARE, change=CHANGE, bands=("blue", "green", "red", "nir")))
    history = [b for b in full if b.acquired < MONITORED]
    mixed = [s if i % every == 0 else f for i, (f, s) in enumerate(zip(history, short, strict=False))]
    state = MONITOR.fit(BlockHistory(mixed))
    assert state.bands == (BANDS if kept else BANDS[:4])
    # a scene without the band adds nothing to the fit of a state that has it
    alone = MONITOR.fit(BlockHistory([f for f in mixed if "swir16" in f.bands] if kept else short[: len(history)]))
    for name in state.fixed:
        np.testing.assert_array_equal(state.fixed[name], alone.fixed[name])
    for block in full[len(history) :]:
        state, _ = MONITOR.update(state, block)
    assert ((MONITOR.report(state).confirmed > 0) == SQUARE).mean() > 0.98


def with_swir22(blocks: Iterable[RasterBlock]) -> list[RasterBlock]:
    """The blocks with a sixth band at 0.8 of swir16."""
    return [
        replace(b, bands=(*b.bands, "swir22"), data=np.concatenate([b.data, (b.data[4:5] * 0.8).astype(np.int16)]))
        for b in blocks
    ]


def test_sixth_band_is_fitted_and_described() -> None:
    five, six = (list(series(16, changed=SQUARE, change=CHANGE)) for _ in range(2))
    state, _ = watch(with_swir22(six))
    assert state.bands == (*BANDS, "swir22")
    pixels = inside(MONITOR.changed(state))
    np.testing.assert_allclose(np.nanmedian(pixels.after, axis=0), [*SOIL, 0.8 * SOIL[4]], atol=0.03)
    assert np.nanmedian(pixels.before[:, 5]) == pytest.approx(0.8 * 0.17, abs=0.02)
    other = MONITOR.report(watch(five)[0])
    assert ((MONITOR.report(state).confirmed > 0) == (other.confirmed > 0)).mean() > 0.98


def test_state_takes_at_most_120_bytes_a_pixel() -> None:
    """Six bands and a tenth of a window of 128 x 128 changing; what is paid once a window is in it."""
    large = replace(GRID, shape=(128, 128))

    def enlarged(block: RasterBlock) -> RasterBlock:
        return replace(block, grid=large, data=np.tile(block.data, (1, 8, 8)), quality=np.tile(block.quality, (8, 8)))

    blocks = with_swir22(series(17, changed=SQUARE, change=CHANGE, cloud=0.2))
    history = [enlarged(b) for b in blocks if b.acquired < MONITORED]
    state = MONITOR.fit(BlockHistory(history[::3]))
    for block in blocks:
        if CHANGE <= block.acquired < CHANGE + timedelta(days=30):
            state, _ = MONITOR.update(state, enlarged(block))
    assert len(state.dynamic["at"]) > 0.1 * 128 * 128
    assert (len(pack_fixed(state)) + len(pack_dynamic(state))) / 128**2 <= 120


def test_short_history_is_said() -> None:
    blocks = [b for b in series(10) if b.acquired >= MONITORED - timedelta(days=90)]
    state, _ = watch(blocks)
    found = MONITOR.report(state)
    assert (found.confirmed == UNKNOWN).all()
    assert (found.first_seen == UNKNOWN).all()


def hidden_before(blocks: Iterable[RasterBlock], where: np.ndarray, until: datetime) -> list[RasterBlock]:
    """The blocks with some pixels hidden until an instant."""
    return [
        replace(b, quality=np.where(where, HIDDEN, b.quality).astype(np.uint8)) if b.acquired < until else b
        for b in blocks
    ]


def test_short_history_of_a_few_pixels_falls_back_to_their_neighbours() -> None:
    few = np.zeros(GRID.shape, np.bool_)
    few[5:7, 6:9] = True
    series_ = series(18, changed=SQUARE, change=CHANGE)
    state, _ = watch(hidden_before(series_, few, MONITORED - timedelta(days=100)))
    found = MONITOR.report(state)
    np.testing.assert_array_equal(found.basis, np.where(few, BASIS_NEIGHBOUR, BASIS_OWN))
    assert (found.confirmed[few] >= to_day(CHANGE)).all()
    assert ((found.confirmed > 0) == SQUARE).mean() > 0.99
    # and ground that stays is not taken for changed because it is judged by another
    state, _ = watch(hidden_before(series(18), few, MONITORED - timedelta(days=100)))
    assert (MONITOR.report(state).confirmed == 0).all()


def test_neighbours_stand_in_only_so_far() -> None:
    block = np.zeros(GRID.shape, np.bool_)
    block[1:15, 1:15] = True
    state, _ = watch(hidden_before(series(19), block, MONITORED))
    found = MONITOR.report(state)
    inner = np.zeros(GRID.shape, np.bool_)
    inner[6:10, 6:10] = True
    np.testing.assert_array_equal(found.basis == BASIS_NOTHING, inner)
    np.testing.assert_array_equal(found.confirmed == UNKNOWN, inner)
    assert (found.basis[block & ~inner] == BASIS_NEIGHBOUR).all()
    assert (found.last_clear[inner] > 0).all()


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
