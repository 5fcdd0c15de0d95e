"""`redline detectors compare`: three files that appear whole or not at all."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.features import rasterize
from typer.testing import CliRunner

from app.cli_detectors import detectors
from app.foundation.errors import Invalid
from app.foundation.geometry import CRS as GEOGRAPHIC
from app.monitoring.compare import FILES, Comparison, compare
from tests.pairs import CRS, PLACE, SIZE, SQUARE, Difference, changed, ground, numbers, write

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.filterwarnings("ignore:'crs' was not provided:UserWarning"),
]
PLANTED = np.zeros((SIZE, SIZE), bool)
PLANTED[SQUARE] = True


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    early = ground()
    return write(folder / "early.tif", numbers(early)), write(folder / "late.tif", numbers(changed(early)))


def overlap(found: np.ndarray, planted: np.ndarray = PLANTED) -> float:
    return float((found & planted).sum() / (found | planted).sum())


def test_the_command_finds_what_changed(pair: tuple[Path, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app.cli", "detectors", "compare", *map(str, pair), "--out", str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "of the compared ground changed" in ended.stderr
    assert f"rows compared: {SIZE}/{SIZE}" in ended.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)

    with rasterio.open(tmp_path / "out" / "change.tif") as file:
        change = file.read(1)
        assert (file.dtypes, file.nodata, file.crs, file.transform) == (("uint8",), 0, CRS, PLACE)
        assert (file.profile["tiled"], file.compression.value) == (True, "DEFLATE")
        assert file.tags()["REDLINE_DETECTOR"].startswith("bitemporal/")
    with rasterio.open(tmp_path / "out" / "strength.tif") as file:
        strength = file.read(1)
        assert file.dtypes == ("float32",)
        assert np.isnan(file.nodata)
    assert set(np.unique(change)) <= {0, 1, 2}
    assert overlap(change == 2) > 0.8
    assert np.median(strength[PLANTED]) > 3 * np.median(strength[~PLANTED])

    found = geopandas.read_file(tmp_path / "out" / "changes.gpkg", layer="changes")
    assert found.crs.to_string() == GEOGRAPHIC
    largest = found.loc[found.pixels.idxmax()]
    # The scale of the projection there is 0.9996 each way.
    assert largest.area_m2 == pytest.approx(100 * largest.pixels / 0.9996**2, rel=1e-4)
    shown = rasterize(found.to_crs(CRS).geometry, out_shape=(SIZE, SIZE), transform=PLACE) == 1
    assert overlap(shown, change == 2) > 0.8
    assert (found.pixels >= 10).all()
    assert found.id.tolist() == list(range(1, len(found) + 1))
    assert largest.strength == pytest.approx(float(np.mean(strength[(change == 2) & PLANTED])), rel=0.05)
    assert largest.detector.startswith("bitemporal/")


def test_the_command_compares_in_the_cells_that_it_is_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["compare", *map(str, pair), "--out", str(tmp_path / "out"), "--cell-px", "4"]
    ended = CliRunner().invoke(detectors, words)
    assert ended.exit_code == 0, ended.output
    assert "compared in cells of 4 x 4 pixels, and what is smaller was not looked for" in ended.output
    with rasterio.open(tmp_path / "out" / "change.tif") as file:
        change = file.read(1)
    assert np.array_equal(change, change[::4, ::4].repeat(4, 0).repeat(4, 1))
    assert overlap(change == 2) > 0.7
    with pytest.raises(Invalid, match="--cell-px must be 1 to 64"):
        compare(Comparison(*pair, tmp_path / "out", cell_px=65))


def test_the_least_area_is_kept_to(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert compare(Comparison(*pair, tmp_path / "out", least_px=5_000), monitor=Difference()).changes == 0
    found = geopandas.read_file(tmp_path / "out" / "changes.gpkg", layer="changes")
    assert (len(found), found.crs.to_string()) == (0, GEOGRAPHIC)
    assert "area_m2" in found.columns


def test_a_change_on_both_sides_of_the_antimeridian_is_one_small_polygon(tmp_path: Path) -> None:
    place = {"crs": "EPSG:32660", "transform": Affine(10, 0, 785_970, 0, -10, 3_430_000)}
    early = write(tmp_path / "early.tif", numbers(ground()), **place)
    late = write(tmp_path / "late.tif", numbers(changed(ground())), **place)
    compare(Comparison(early, late, tmp_path / "out"), monitor=Difference())
    (change,) = geopandas.read_file(tmp_path / "out" / "changes.gpkg", layer="changes").itertuples()
    assert change.area_m2 == pytest.approx(120_000, rel=0.01)
    west, _, east, _ = change.geometry.bounds
    assert west < -180 < east < west + 0.01 and change.geometry.is_valid


def test_changes_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early = ground()
    late = changed(early)
    for place in (10, 40, 100, 130):
        late[:, place : place + 14, 120:140] = late[:, 60:74, 45:65]
    pair = write(tmp_path / "early.tif", numbers(early)), write(tmp_path / "late.tif", numbers(late))
    whole = compare(Comparison(*pair, tmp_path / "whole"), monitor=Difference()).changes
    monkeypatch.setattr("app.monitoring.pair_changes._BATCH", 2)
    assert compare(Comparison(*pair, tmp_path / "parts"), monitor=Difference()).changes == whole >= 5
    one, other = (geopandas.read_file(tmp_path / name / "changes.gpkg", layer="changes") for name in ("whole", "parts"))
    assert one.equals(other)


def test_a_finer_image_of_other_bands_is_averaged_to_the_coarser(tmp_path: Path) -> None:
    early = ground(bands=4)
    write(tmp_path / "early.tif", numbers(early))
    # Three bands, 8 bits, twice as fine, and not on the other's grid: it begins 33 m further west and south.
    late = np.kron(changed(early)[:3], np.ones((2, 2)))
    write(tmp_path / "late.tif", np.clip(late * 255, 1, 255).astype(np.uint8),
          transform=Affine(5, 0, PLACE.c - 33, 0, -5, PLACE.f - 33))  # fmt: skip
    done = compare(Comparison(tmp_path / "early.tif", tmp_path / "late.tif", tmp_path / "out"), monitor=Difference())
    assert "resampled to the grid of BEFORE (early.tif)" in " ".join(done.notes)
    with rasterio.open(tmp_path / "out" / "change.tif") as file:
        # Rows from 33 m on, columns until 33 m before the end: whole pixels that both show.
        assert file.transform == PLACE @ Affine.translation(0, 4)
        assert file.shape == (SIZE - 4, SIZE - 4)


@pytest.mark.parametrize("which", ["neither", "before", "after"])
def test_images_without_a_place(tmp_path: Path, which: str) -> None:
    early = ground()
    write(tmp_path / "early.tif", numbers(early), crs=CRS if which == "before" else None)
    write(tmp_path / "late.tif", numbers(changed(early)), crs=CRS if which == "after" else None)
    done = compare(Comparison(tmp_path / "early.tif", tmp_path / "late.tif", tmp_path / "out"), monitor=Difference())
    assert "georeference" in " ".join(done.notes)
    found = geopandas.read_file(tmp_path / "out" / "changes.gpkg", layer="changes")
    with rasterio.open(tmp_path / "out" / "change.tif") as file:
        assert overlap(file.read(1) == 2) > 0.8
        if which == "neither":
            assert (file.crs, file.transform.is_identity) == (None, True)
        else:
            assert (file.crs, file.transform) == (CRS, PLACE)
    largest = found.loc[found.pixels.idxmax()]
    if which == "neither":
        assert found.crs is None
        assert largest.area_px == largest.pixels
        column, row = largest.geometry.centroid.coords[0]
        assert (column, -row) == pytest.approx((60, 75), abs=2)
    else:
        assert found.crs.to_string() == GEOGRAPHIC


def test_no_data_is_never_unchanged(tmp_path: Path) -> None:
    early, late = ground(), changed(ground())
    holes = late.astype(np.float32)
    holes[0, 10:20, 10:20] = np.nan
    holes[1, 10:20, 30:40] = np.inf
    holes[2, 10:20, 50:60] = -9999
    write(tmp_path / "early.tif", numbers(early))
    write(tmp_path / "late.tif", holes, nodata=-9999)
    done = compare(Comparison(tmp_path / "early.tif", tmp_path / "late.tif", tmp_path / "out"), monitor=Difference())
    expected = np.zeros((SIZE, SIZE), bool)
    expected[10:20, 10:20] = expected[10:20, 30:40] = expected[10:20, 50:60] = True
    with rasterio.open(tmp_path / "out" / "change.tif") as file:
        nothing = file.read(1) == 0
    with rasterio.open(tmp_path / "out" / "strength.tif") as file:
        assert np.array_equal(np.isnan(file.read(1)), nothing)
    assert nothing[expected].all()
    # A shift that is taken out may widen a hole by a few pixels, and no more.
    assert nothing.sum() <= 3 * 16**2
    assert done.counts.whole - done.counts.seen == nothing.sum()
    assert "could not be compared" in done.in_words()


def waiting(pair: tuple[Path, Path], out: Path) -> subprocess.Popen[str]:
    """The command, waiting after its first block for a signal."""
    code = (
        "import time; from app.monitoring import compare as c; from tests.pairs import Difference\n"
        "class Waiting(Difference):\n"
        "    def compare(self, *a):\n"
        "        for block in super().compare(*a):\n"
        "            yield block\n"
        "            print('WAITING', file=__import__('sys').stderr, flush=True); time.sleep(60)\n"
        "c.Bitemporal = Waiting\n"
        "from app.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "detectors", "compare", *map(str, pair), "--out", str(out)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_being_ended_in_the_middle_leaves_nothing_behind(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with waiting(pair, tmp_path / "deep" / "out") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "WAITING" in line:
                break
        assert list(tmp_path.rglob("change.tif")), "nothing is being written yet"
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        rest = process.stderr.read()
        assert process.wait() != 0
    assert time.monotonic() - started < 20
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_what_was_there(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A limit on the size of files, which the system reports as it does a full disk: an error of write()."""
    (tmp_path / "change.tif").write_bytes(b"earlier")

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    code = (
        "from app.monitoring import compare as c; from tests.pairs import Difference; c.Bitemporal = Difference\n"
        "from app.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "detectors", "compare", *map(str, pair), "--out", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, preexec_fn=limited,
                           env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})  # fmt: skip
    assert ended.returncode == 1
    assert "--out cannot be written to: the disk is full" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("change.tif", b"earlier")]


def test_earlier_results_come_back_when_a_file_cannot_be_moved(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    compare(Comparison(*pair, out), monitor=Difference())
    before = {name: (out / name).read_bytes() for name in FILES}
    move = Path.replace

    def refusing(self: Path, target: Path) -> Path:
        if self.name == "changes.gpkg" and target.parent == out:
            raise OSError(28, "No space left on device")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", refusing)
    with pytest.raises((OSError, Invalid)):
        compare(Comparison(*pair, out, least_px=50), monitor=Difference())
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
