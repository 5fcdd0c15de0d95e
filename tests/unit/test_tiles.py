"""A tile on real files: what it keeps, what it saw, and what fails it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Event
from uuid import uuid4

import numpy as np
import pytest
import rasterio

from app.foundation.storage import Storage
from app.imagery.acquisitions import Acquisition
from app.imagery.grid import scene_grid
from app.imagery.models import MaskKind
from app.imagery.pixels import AssetRef, Pixels, SceneRef
from app.monitoring import blocks
from app.monitoring.blocks import Gaps, read_day
from app.monitoring.looks import Looks
from app.monitoring.pools import Failure, attempt
from app.monitoring.scene_log import brief, scene_days
from app.monitoring.scratch import ScratchHistory
from app.monitoring.states import StatePointer, StateStore, live_keys
from app.monitoring.tiles import (
    JUDGED_WITHOUT,
    NOT_FITTED,
    TileFailed,
    TileJob,
    TileStopped,
    changed_pixels,
    compute_tile,
)
from detectors.registry import make_monitor
from detectors.types import CLEAR, HIDDEN, NONE, NOTHING, SNOW, BlockHistory, Grid, RasterBlock
from tests.s3_server import S3Server
from tests.series import FOREST, Series, write_series

SIZE = 48


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    return write_series(tmp_path_factory.mktemp("series") / "images", size=SIZE)


def refs(folder: Path) -> list[SceneRef]:
    """The scenes of a series, oldest first."""
    scenes = []
    for path in sorted(folder.glob("*_scl.tif")):
        day = path.name[:8]
        assets = {band: AssetRef(str(folder / f"{day}_{band}.tif"), scale=1e-4) for band in FOREST}
        at = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
        scenes.append(SceneRef(uuid4(), day, at, assets | {"mask": AssetRef(str(path))}, MaskKind.scl, digest=day))
    return scenes


def job(scenes: list[SceneRef], url: str, previous: StatePointer | None = None) -> TileJob:
    crs, t, shape = scene_grid(scenes[0])
    return TileJob(
        plan_id="p",
        row=0,
        col=0,
        row0=100,
        col0=200,
        grid=Grid(crs, (t.a, t.b, t.c, t.d, t.e, t.f), shape),
        bands=tuple(FOREST),
        monitor="harmonic",
        monitor_parameters={},
        history_from=date(2022, 1, 1),
        history_until=date(2023, 12, 31),
        until=date(2024, 12, 31),
        scenes=tuple(scenes),
        previous=previous,
        storage_url=url,
    )


def parts(url: str, pointer: StatePointer) -> tuple[bytes, bytes]:
    return Storage(url).read(pointer.fixed_key), Storage(url).read(pointer.dynamic_key)


@pytest.mark.parametrize("kind", ["s3", pytest.param("file", marks=pytest.mark.torture)])
def test_a_late_scene_gives_what_order_gives(series: Series, tmp_path: Path, s3: S3Server, kind: str) -> None:
    url, other = (f"{tmp_path.as_uri()}/{name}" if kind == "file" else s3.new_url() for name in "ab")
    scenes = refs(series.folder)
    late = scenes[-2]
    first = compute_tile(job([s for s in scenes if s is not late], url))
    result = compute_tile(job(scenes, url, first.state))
    in_order = compute_tile(job(scenes, other))
    assert result.replayed_from == late.acquired_at.date()
    assert result.scenes_used == 1
    assert parts(url, result.state) == parts(other, in_order.state)
    assert result.changed_pixels == in_order.changed_pixels
    assert result.state.log == in_order.state.log
    assert set(result.written) == live_keys(result.state) - live_keys(first.state)
    found = changed_pixels(result.changed_pixels)
    assert (found.confirmed > NONE).sum() > 300
    assert found.row.min() >= 100
    assert found.col.min() >= 200


def test_a_tile_is_tried_again_when_the_storage_was_away(series: Series, s3: S3Server) -> None:
    asked = job(refs(series.folder)[:60], s3.new_url())
    s3.kill()
    failed = attempt(asked)
    assert isinstance(failed, Failure)
    assert not failed.final
    assert "storage error" in failed.reason


def test_what_a_tile_saw(series: Series, tmp_path: Path) -> None:
    scenes = refs(series.folder)
    result = compute_tile(job(scenes[:70], tmp_path.as_uri()))
    newest = result.state.updated_until
    assert newest == scenes[69].acquired_at.date()
    assert result.last_acquired_at == scenes[69].acquired_at
    assert (result.scenes_used, result.failures, result.refused) == (70, [], [])
    # Every third scene has its upper third under cloud; what the history showed is not counted.
    later = sum(s.acquired_at.year > 2023 for s in scenes[:70])
    assert 0 < later < 15
    assert result.clear_share == pytest.approx(1 - 1 / 9, abs=0.05)
    assert result.valid_observations == pytest.approx(later * SIZE * SIZE * (1 - 1 / 9), rel=0.05)
    looks = Looks.from_bytes(result.looks)
    assert looks.oldest.shape == (3, 3)
    assert (looks.unknown == 0).all()
    # The newest scene is one of the clouded ones.
    day = (newest - date(1970, 1, 1)).days
    assert looks.newest.tolist() == [[day - 12] * 3, [day] * 3, [day] * 3]


def test_a_truncated_file_fails_the_tile_and_changes_nothing(series: Series, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(series.folder, folder)
    scenes, url = refs(folder), (tmp_path / "store").as_uri()
    before = compute_tile(job(scenes[:-1], url)).state
    held = {key: Storage(url).read(key) for key in Storage(url).list("states")}
    broken = Path(scenes[-1].assets["nir"].href)
    broken.write_bytes(broken.read_bytes()[:900])
    with pytest.raises(TileFailed, match=f"Scene {scenes[-1].external_id}, asset nir") as failure:
        compute_tile(job(scenes, url, before))
    assert str(tmp_path) not in str(failure.value)
    assert {key: Storage(url).read(key) for key in Storage(url).list("states")} == held


def test_failures_are_told_apart(series: Series, tmp_path: Path) -> None:
    scenes, url = refs(series.folder), tmp_path.as_uri()
    with pytest.raises(TileFailed, match="nothing says what is normal"):
        compute_tile(job(scenes[-3:], url))
    before = compute_tile(job(scenes[:-1], url)).state
    other = replace(job(scenes, url, before), monitor_parameters={"least_observations": 13})
    with pytest.raises(TileFailed, match="of no use here"):
        compute_tile(other)
    moved = job(scenes, url, before)
    with pytest.raises(TileFailed, match="window"):
        compute_tile(replace(moved, grid=moved.grid.window(1, 0, moved.grid.shape)))
    Storage(url).delete(before.dynamic_key)
    with pytest.raises(TileFailed, match="gone"):
        compute_tile(job(scenes, url, before))
    renewed = compute_tile(replace(job(scenes, url, before), rebaseline=True)).state
    assert (renewed.sequence, len(renewed.log)) == (before.sequence + 1, len(scenes))


def test_a_full_disk_fails_the_tile(series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Storage, key: str, *data: bytes) -> None:
        raise OSError(28, "No space left on device", "/secret/path")

    monkeypatch.setattr(Storage, "put_named", full)
    with pytest.raises(TileFailed, match=r"No space left on device$"):
        compute_tile(job(refs(series.folder), tmp_path.as_uri()))


def test_a_computation_can_be_stopped(series: Series, tmp_path: Path) -> None:
    stop, days = Event(), []

    def count() -> None:
        days.append(1)
        if len(days) == 5:
            stop.set()

    with pytest.raises(TileStopped):
        compute_tile(job(refs(series.folder), tmp_path.as_uri()), stop=stop, day_done=count)
    assert len(days) == 5
    assert list(Storage(tmp_path.as_uri()).list("states")) == []


def test_scenes_elsewhere_are_none_of_the_tiles_business(series: Series, tmp_path: Path) -> None:
    scenes, url = refs(series.folder), tmp_path.as_uri()
    before = compute_tile(job(scenes, url)).state
    away = replace(scenes[-3], id=uuid4(), external_id="away", bounds=(10.0, 10.0, 11.0, 11.0))
    assert compute_tile(job([*scenes, away], url, before)).state == before


def test_a_scene_that_shows_nothing_moves_the_log_and_not_the_state(series: Series, tmp_path: Path) -> None:
    scenes, url = refs(series.folder), (tmp_path / "store").as_uri()
    before = compute_tile(job(scenes[:-1], url)).state
    assets = {}
    for name, asset in scenes[-1].assets.items():
        with rasterio.open(asset.href) as source:
            profile, plane = source.profile, source.read()
        away = tmp_path / f"{name}.tif"
        profile["transform"] = profile["transform"] @ profile["transform"].translation(10_000, 0)
        with rasterio.open(away, "w", **profile) as target:
            target.write(plane)
        assets[name] = replace(asset, href=str(away))
    after = compute_tile(job([*scenes[:-1], replace(scenes[-1], assets=assets)], url, before))
    assert after.written == ()
    assert (after.state.sequence, after.state.dynamic_key) == (before.sequence + 1, before.dynamic_key)
    assert len(after.state.log) == len(before.log) + 1
    assert (after.clear_share, after.valid_observations) == (None, 0)


def test_a_newer_processing_takes_the_place_of_the_older(series: Series, tmp_path: Path) -> None:
    scenes, url, other = refs(series.folder), f"{tmp_path.as_uri()}/a", f"{tmp_path.as_uri()}/b"
    before = compute_tile(job(scenes, url)).state
    newer = replace(scenes[-2], id=uuid4(), external_id="again", digest="again", tile="T", version=("2",))
    older = replace(scenes[-2], tile="T", version=("1",))
    listed = [*scenes[:-2], older, newer, scenes[-1]]
    after = compute_tile(job(listed, url, before))
    assert after.replayed_from == scenes[-2].acquired_at.date()
    assert [entry.scene_id for entry in after.state.log].count(str(newer.id)) == 1
    assert str(older.id) not in {entry.scene_id for entry in after.state.log}
    anew = compute_tile(job([s for s in listed if s is not older], other))
    assert parts(url, after.state) == parts(other, anew.state)


def test_a_days_acquisitions_fill_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {
        "a": Pixels(np.full((2, 1, 4), 1, np.int16), np.array([[CLEAR, HIDDEN, NOTHING, SNOW]], np.uint8),
                    ("red", "nir"), []),
        "b": Pixels(np.full((2, 1, 4), 2, np.int16), np.array([[CLEAR, CLEAR, CLEAR, CLEAR]], np.uint8),
                    ("nir", "swir16"), [{"scene": "b", "asset": "red", "reason": "it has none"}]),
        "c": Pixels(np.full((3, 1, 4), 3, np.int16), np.array([[CLEAR, NOTHING, CLEAR, HIDDEN]], np.uint8),
                    ("nir", "red", "swir16"), []),
        "d": Pixels(np.array([[[4] * 4], [[5] * 4]], np.int16), np.array([[CLEAR, CLEAR, CLEAR, NOTHING]], np.uint8),
                    ("nir", "red"), []),
    }  # fmt: skip

    def read(acquisition: Acquisition, geobox: object, bands: object) -> Pixels:
        return shown[acquisition.scenes[0].external_id]

    monkeypatch.setattr(blocks, "read_acquisition", read)
    at = datetime(2024, 5, 1, 2, tzinfo=UTC)
    scenes = [SceneRef(uuid4(), n, at.replace(minute=i), {}, MaskKind.none, mission=n) for i, n in enumerate("abcd")]
    (day,) = scene_days(reversed(scenes))
    gaps = Gaps()
    block = read_day(day, Grid("EPSG:32652", (10, 0, 0, 0, -10, 0), (1, 4)), ("red", "nir", "swir16"), gaps)
    assert block is not None
    assert block.bands == ("red", "nir"), "a further image that lacks red costs nobody the band"
    assert block.quality.tolist() == [[CLEAR, CLEAR, CLEAR, SNOW]]
    assert block.data.tolist() == [[[1, 5, 3, 1]], [[1, 4, 3, 1]]]
    assert block.acquired == at
    assert gaps.to_json() == [
        {"band": "red", "reason": f"{blocks.NO_FILL} (1 time)"},
        {"band": "red", "reason": "it has none (1 time)"},
    ]


def test_a_history_alone_says_nothing_of_later_days(series: Series, tmp_path: Path) -> None:
    past = [s for s in refs(series.folder) if s.acquired_at.year < 2024]
    result = compute_tile(job(past, tmp_path.as_uri()))
    assert result.scenes_used == len(past)
    assert (result.clear_share, result.snow_share, result.valid_observations) == (None, None, 0)


def without(scenes: list[SceneRef], band: str) -> list[SceneRef]:
    return [replace(s, assets={name: a for name, a in s.assets.items() if name != band}) for s in scenes]


def test_bands_that_the_monitor_does_without_are_told(series: Series, tmp_path: Path) -> None:
    scenes, url = refs(series.folder), tmp_path.as_uri()
    past = [s for s in scenes if s.acquired_at.year < 2024]
    later = scenes[len(past) :][:4]
    first = compute_tile(job([*without(past[:8], "swir16"), *past[8:], *later[:1], *without(later[1:3], "red")], url))
    reasons = {(f["band"], f["reason"]) for f in first.failures}
    assert ("swir16", f"{NOT_FITTED} (1 time)") in reasons
    assert ("red", f"{JUDGED_WITHOUT} (2 times)") in reasons
    assert not any(band == "nir" for band, _ in reasons)
    used = [*without(past[:8], "swir16"), *past[8:], *later[:1], *without(later[1:3], "red"), later[3]]
    again = compute_tile(job(used, url, first.state))
    assert again.failures == [{"band": "swir16", "reason": f"{NOT_FITTED} (1 time)"}], "later runs tell it, too"


def test_a_spilled_history_is_the_history(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    grid = Grid("EPSG:32652", (10, 0, 0, 0, -10, 0), (37, 20))
    history = []
    for number in range(60):
        bands = ("red", "nir", "swir16") if number % 4 else ("nir", "red")
        data = rng.integers(0, 5000, (len(bands), *grid.shape)).astype(np.int16)
        quality = rng.integers(0, 4, grid.shape).astype(np.uint8)
        at = datetime.fromtimestamp((19_000 + 12 * number) * 86_400, UTC)
        history.append(RasterBlock(data, quality, grid, bands, at))
    memory = BlockHistory(history)
    with ScratchHistory(grid, ("nir", "red", "swir16", "blue")) as scratch:
        for block in history:
            scratch.append(block)
        with pytest.raises(ValueError, match="ascend"):
            scratch.append(history[-1])
        assert scratch.bands == memory.bands == ("red", "nir", "swir16")
        assert np.array_equal(scratch.days, memory.days)
        assert np.array_equal(scratch.lacking, memory.lacking)
        for start, stop in ((0, 37), (5, 6), (30, 37)):
            for ours, theirs in zip(scratch.rows(start, stop), memory.rows(start, stop), strict=True):
                assert ours.dtype == theirs.dtype
                assert np.array_equal(ours, theirs)


def test_what_is_kept_of_refusals_is_bounded() -> None:
    few = [{"scene": str(n), "day": "2020-01-01", "reason": "late: x"} for n in range(10)]
    assert brief(few) == few
    many = [*few, *({"scene": str(n), "day": "2020-02-01", "reason": "corrected: x"} for n in range(3000))]
    assert brief(many) == [
        *few, {"reason": "late: x", "count": 10}, {"reason": "corrected: x", "count": 3000},
    ]  # fmt: skip


def test_looks_sum_up_cells() -> None:
    last = np.full((20, 16), 20_000, np.uint16)
    basis = np.ones((20, 16), np.uint8)
    basis[0, 0], last[0, 0] = 0, 5
    last[3, 3] = 19_000
    basis[16:] = 0
    looks = Looks.of(last, basis)
    assert looks.oldest.tolist() == [[19_000], [0]]
    assert looks.newest.tolist() == [[20_000], [0]]
    assert looks.unknown.tolist() == [[1], [100]]
    again = Looks.from_bytes(looks.to_bytes())
    assert (again.oldest.dtype, again.unknown.dtype) == (np.uint16, np.uint8)


def test_a_stored_state_reports_as_the_tile_did(series: Series, tmp_path: Path) -> None:
    result = compute_tile(job(refs(series.folder), tmp_path.as_uri()))
    store = StateStore(Storage(tmp_path.as_uri()), "p", 0, 0)
    monitor = make_monitor("harmonic", {})
    report = monitor.report(store.read(result.state))
    table = changed_pixels(result.changed_pixels)
    assert np.array_equal(
        np.sort(report.confirmed[report.confirmed > NONE]), np.sort(table.confirmed[table.confirmed > 0])
    )
