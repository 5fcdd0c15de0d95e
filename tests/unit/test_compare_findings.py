"""What `redline detectors compare` says of changes: roads by their crests, spectra only where they are reflectance."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from app.monitoring.compare import Comparison, compare
from app.monitoring.pair_lines import Cells
from detectors.ridges import corridors, ridge_lines, ridges_of_all_widths
from tests.pairs import SIZE, Difference, ground, numbers, write

NAMES = ("green", "red", "nir")


def with_a_road(folder: Path) -> tuple[Path, Path]:
    """A bright square, and through it a road two pixels wide from side to side."""
    early = ground()
    late = early.copy()
    late[:, 60:100, 60:90] = 0.4
    late[:, 79:81, 10:150] = 0.9
    paths = write(folder / "early.tif", numbers(early)), write(folder / "late.tif", numbers(late))
    for path in paths:
        with rasterio.open(path, "r+") as file:
            file.descriptions = NAMES
    return paths


def test_a_road_through_a_place_is_a_finding_of_its_own(tmp_path: Path) -> None:
    compare(Comparison(*with_a_road(tmp_path), tmp_path / "out"), monitor=Difference())
    changes = geopandas.read_file(tmp_path / "out" / "changes.gpkg", layer="changes")
    lines = geopandas.read_file(tmp_path / "out" / "changes.gpkg", layer="centre_lines")
    [road] = changes[changes.activity == "road"].itertuples()
    assert road.length_m == pytest.approx(1400, rel=0.05)
    assert road.width_m <= 30
    assert "mean width is 10 m" in road.reasons
    assert lines.change.tolist() == [road.id]
    assert lines.length_m[0] == pytest.approx(road.length_m)
    assert (changes[changes.id != road.id].activity == "other").all()
    assert "was not measured" not in " ".join(changes.reasons)


def test_spectra_count_only_where_the_numbers_are_reflectance(tmp_path: Path) -> None:
    pair = with_a_road(tmp_path)
    said = {}
    for name, scale in (("numbers", None), ("reflectance", 1e-4)):
        compare(Comparison(*pair, tmp_path / name, scale, scale), monitor=Difference())
        changes = geopandas.read_file(tmp_path / name / "changes.gpkg", layer="changes")
        said[name] = changes[changes.activity == "road"].reasons.iloc[0]
    assert "water" not in said["numbers"]
    assert "water" in said["reflectance"]


def test_a_map_of_specks_is_told_and_not_outlined(tmp_path: Path) -> None:
    early = ground()
    late = np.where(np.random.default_rng(3).random((SIZE, SIZE)) < 0.45, 0.9, early)
    pair = write(tmp_path / "early.tif", numbers(early)), write(tmp_path / "late.tif", numbers(late))
    done = compare(Comparison(*pair, tmp_path / "out"), monitor=Difference())
    assert done.changes == 0
    assert any("changed in specks" in note for note in done.notes)


def smooth(raised: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(raised.astype(np.float32), 1.4)


@pytest.mark.parametrize("width", [1, 2, 4, 9, 20])
def test_a_bend_of_any_width_is_one_line(width: int) -> None:
    y, x = np.mgrid[:400, :400]
    ring = np.abs(np.hypot(y - 400, x - 400) - 300) < width / 2
    [line, *others] = ridges_of_all_widths(4 * smooth(ring), 1.0, 1.4)
    assert not others
    assert line.length == pytest.approx(300 * np.pi / 2, rel=0.12)
    assert line.width == pytest.approx(width, abs=max(1.5, 0.35 * width))
    assert (np.abs(np.hypot(line.path[:, 0] - 400, line.path[:, 1] - 400) - 300) < max(1.5, width / 4)).all()


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_turning_the_map_turns_the_lines(turn: int) -> None:
    strength = np.zeros((120, 150), np.float32)
    strength[40:42, 20:130] = 5
    strength = smooth(strength) + np.random.default_rng(1).normal(0, 0.05, strength.shape).astype(np.float32)
    one, other = (corridors(ridge_lines(s, 1.0), s.shape) > 0 for s in (strength, np.rot90(strength, turn)))
    # The middle of a line of even width lies on either of two pixels.
    for found, around in ((np.rot90(one, turn), other), (other, np.rot90(one, turn))):
        assert found.any()
        assert (ndimage.distance_transform_edt(~around)[found] < 2.5).mean() > 0.95


def test_blobs_and_plain_ground_have_no_lines() -> None:
    y, x = np.mgrid[:200, :200]
    discs = np.zeros((200, 200), bool)
    for row, col, radius in ((50, 50, 20), (50, 130, 30), (140, 60, 6), (150, 150, 3)):
        discs |= np.hypot(y - row, x - col) < radius
    assert ridges_of_all_widths(5 * smooth(discs), 1.0) == []
    assert ridges_of_all_widths(np.ones((100, 100), np.float32), 1.0) == []
    assert ridges_of_all_widths(np.full((100, 100), np.nan, np.float32), 1.0) == []
    assert ridges_of_all_widths(5 * smooth(discs), 0.0) == []


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 4),
    height=st.integers(1, 9),
    shape=st.tuples(*[st.integers(1, 20)] * 2),
)
def test_a_cell_has_the_strength_of_those_of_its_pixels_that_have_one(
    seed: int, size: int, height: int, shape: tuple[int, int]
) -> None:
    random = np.random.default_rng(seed)
    whole = random.integers(0, 100, (-(-shape[0] // size), -(-shape[1] // size))).astype(np.float32)
    strength = whole.repeat(size, 0).repeat(size, 1)[: shape[0], : shape[1]]
    strength[random.random(shape) < 0.4] = np.nan
    cells = Cells(shape, size)
    for row0 in range(0, shape[0], height):
        cells.add(row0, strength[row0 : row0 + height])
    given_back = cells.strip(0, *shape)
    known = np.isfinite(strength)
    assert np.array_equal(given_back[known], strength[known])
