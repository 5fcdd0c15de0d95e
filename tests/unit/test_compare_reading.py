"""Windows of a pair: the same numbers whatever the windows, on the grid that both images share."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from scipy import ndimage

from app.monitoring.pair_files import opened
from app.monitoring.pair_grid import FilePair, common_grid
from app.monitoring.pair_patches import ChangedPatch, Gatherer
from app.monitoring.polygon_batches import outlines, simplify_all
from app.monitoring.polygons import simplify
from detectors.pairs import Pair
from tests.pairs import PLACE, ground, numbers, write

SIZE = 48
# Steps of the later image's grid: the same, 2.5 times as fine and off the grid, coarser and off it, of other shape.
GRIDS = {
    "same": Affine.identity(),
    "cut": Affine.translation(5, -7),
    "finer": Affine.translation(3.3, 2.1) @ Affine.scale(0.4),
    "coarser": Affine.translation(-1.7, -2.2) @ Affine.scale(1.6),
    "half a pixel off": Affine.translation(0.5, 0.5),
    "oblong": Affine.translation(1, 2) @ Affine.scale(0.5, 1.3),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("images")
    early = write(folder / "early.tif", numbers(ground(size=SIZE)), nodata=0)
    later = ground(3, 4, SIZE).astype(np.float32)
    later[:, 20:24, 5:30] = np.nan
    return {name: (early, write(folder / f"{name}.tif", later, transform=PLACE @ step)) for name, step in GRIDS.items()}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(GRIDS)), st.data())
def test_windows_are_parts_of_the_whole(images: dict[str, tuple[Path, Path]], name: str, data: st.DataObject) -> None:
    with ExitStack() as stack:
        before, after = (
            stack.enter_context(opened(path, role, None))
            for path, role in zip(images[name], ("BEFORE", "AFTER"), strict=True)
        )
        pair = FilePair(before, after, common_grid(before, after))
        assert isinstance(pair, Pair)
        rows, columns = pair.grid.shape
        row, col = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
        shape = data.draw(st.integers(1, rows - row)), data.draw(st.integers(1, columns - col))
        whole = pair.read(0, 0, pair.grid.shape)
        part = pair.read(row, col, shape)
    for all_of_it, some in zip(whole, part, strict=True):
        assert np.array_equal(all_of_it[..., row : row + shape[0], col : col + shape[1]], some)


def overlap_means(image: NDArray[np.float64], t: Affine, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Means over the pixels of a grid by brute force: 20 × 20 points in each. t: from that grid to the image."""
    out = np.zeros(shape)
    for row in range(shape[0]):
        for col in range(shape[1]):
            y, x = np.meshgrid(row + (np.arange(20) + 0.5) / 20, col + (np.arange(20) + 0.5) / 20, indexing="ij")
            out[row, col] = image[(t.e * y + t.f).astype(int), (t.a * x + t.c).astype(int)].mean()
    return out


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_cells_are_the_means_of_the_pixels_that_are_read(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(4)
    paths = []
    for name in ("before", "after"):
        values = rng.integers(0, 9, (2, 43, 61)).astype(dtype)
        if dtype == "float32":
            values[1, 5:9, 3:8] = np.nan
        paths.append(tmp_path / f"{name}.tif")
        with rasterio.open(paths[-1], "w", driver="GTiff", width=61, height=43, count=2, dtype=dtype, nodata=4) as file:
            file.write(values)
    with opened(paths[0], "BEFORE", 0.5) as before, opened(paths[1], "AFTER", None) as after:
        pair = FilePair(before, after, common_grid(before, after))
        cells = pair.read_cells(6, 3, (35, 58), 3)
        for which, got in enumerate(cells):
            values, valid = pair.read_one(which, 6, 3, (35, 58))
            assert np.array_equal(got.valid, valid)
            for i, j in np.ndindex(got.known.shape):
                part = np.s_[3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
                known = valid[part]
                assert got.known[i, j] == (known.any() and 2 * known.sum() >= known.size)
                if known.any():
                    assert got.values[:, i, j] == pytest.approx(values[:, *part][:, known].mean(axis=1), rel=1e-5)


@pytest.mark.parametrize("name", ["finer", "oblong", "half a pixel off"])
def test_averages_are_by_area(tmp_path: Path, name: str) -> None:
    early = write(tmp_path / "early.tif", numbers(ground(size=SIZE)))
    later = ground(5, 1, SIZE)
    late = write(tmp_path / "late.tif", later.astype(np.float32), transform=PLACE @ GRIDS[name])
    with opened(early, "BEFORE", None) as before, opened(late, "AFTER", 2.0) as after:
        pair = FilePair(before, after, common_grid(before, after))
        values, valid = pair.read_one(1, 0, 0, pair.grid.shape)
    assert valid.all()
    t = ~(PLACE @ GRIDS[name]) @ Affine(*pair.grid.transform)
    assert values[0] == pytest.approx(2 * overlap_means(later[0], t, pair.grid.shape), rel=0.03)


def test_a_large_window_of_a_fine_image_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early = write(tmp_path / "early.tif", numbers(ground(size=SIZE)))
    late = write(tmp_path / "late.tif", numbers(ground(5, 2, 4 * SIZE)), transform=PLACE @ Affine.scale(0.25))
    with opened(early, "BEFORE", None) as before, opened(late, "AFTER", None) as after:
        pair = FilePair(before, after, common_grid(before, after))
        whole = pair.read_one(1, 0, 0, pair.grid.shape)
        monkeypatch.setattr("app.monitoring.pair_grid._MOST_HELD", 500)
        parts = pair.read_one(1, 0, 0, pair.grid.shape)
    assert np.array_equal(whole[0], parts[0])
    assert np.array_equal(whole[1], parts[1])


def test_what_a_file_declares_to_be_no_data(tmp_path: Path) -> None:
    image = np.full((4, 8, 8), 9, np.uint8)
    image[0, 0, 0] = image[:3, 1, 1] = 0
    image[3, 2, 2] = 0
    path = write(tmp_path / "alpha.tif", image, photometric="RGB", alpha="YES")
    with opened(path, "AFTER", None) as opaque:
        assert opaque.bands == ("red", "green", "blue")
        values, valid = opaque.read(0, 0, 8, 8)
        assert len(values) == 3
        assert np.argwhere(~valid).tolist() == [[2, 2]]
    with opened(write(tmp_path / "zero.tif", image[:3], nodata=0), "AFTER", None) as declared:
        # 0 in one band is dark, in all of them it is no data.
        assert np.argwhere(~declared.read(0, 0, 8, 8)[1]).tolist() == [[1, 1]]
    with opened(write(tmp_path / "nine.tif", image[:3], nodata=9), "AFTER", None) as other:
        assert np.argwhere(other.read(0, 0, 8, 8)[1]).tolist() == [[1, 1]]
    image[:3, :, :2] = 0
    with opened(write(tmp_path / "fill.tif", image[:3]), "AFTER", None) as filled:
        assert filled.fill
        assert np.array_equal(filled.read(0, 0, 8, 8)[1], (image[:3] > 0).any(axis=0))


def test_scale_offset_and_band_names(tmp_path: Path) -> None:
    path = write(tmp_path / "image.tif", np.full((3, 8, 8), 100, np.int16))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.01, 0.02, 0.03), (-0.1, 0, 0)
        file.descriptions = ("Red", "NIR", "nir08")
        file.colorinterp = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.undefined]
    with opened(path, "BEFORE", None) as own:
        assert own.read(0, 0, 1, 1)[0].ravel() == pytest.approx([0.9, 2, 3])
        # Two bands that claim one name have none.
        assert own.bands == ("red", "b2", "b3")
    with opened(path, "BEFORE", 0.5) as named:
        assert named.read(0, 0, 1, 1)[0].ravel() == pytest.approx([50, 50, 50])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.35, 0.6]), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_patches_are_the_same_however_the_map_is_cut(seed: int, density: float, heights: list[int]) -> None:
    random = np.random.default_rng(seed)
    changed = random.random((sum(heights), 23)) < density
    strength = random.random(changed.shape).astype(np.float32)
    gatherer, row, found = Gatherer(23, 3), 0, list[ChangedPatch]()
    for height in heights:
        found += gatherer.add(row, strength[row : row + height], changed[row : row + height])
        row += height
    found += gatherer.end()
    label, count = ndimage.label(changed, np.ones((3, 3)))
    expected = {tuple(np.flatnonzero(label == k)) for k in range(1, count + 1) if (label == k).sum() >= 3}
    places = []
    for patch in found:
        mask, row0, col0 = patch.mask()
        y, x = np.nonzero(mask)
        places.append(tuple(np.sort((y + row0) * 23 + x + col0)))
        assert len(y) == patch.pixels
        assert patch.mean_strength == pytest.approx(strength[y + row0, x + col0].mean(), rel=1e-5)
        assert patch.outline().area == patch.pixels
    assert len(places) == len(set(places))
    assert set(places) == expected


def test_the_outline_of_a_patch_too_large_for_one_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = np.random.default_rng(4).random((40, 30)) < 0.6
    gatherer, found = Gatherer(30, 100), list[ChangedPatch]()
    for row in range(0, 40, 8):
        found += gatherer.add(row, changed[row : row + 8].astype(np.float32), changed[row : row + 8])
    [patch] = [*found, *gatherer.end()]
    whole = patch.outline()
    monkeypatch.setattr("app.monitoring.pair_patches._MOST_MASK", 0)
    parts = patch.outline()
    assert parts.is_valid
    assert parts.equals(whole)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.15, 0.4, 0.7]), st.integers(3, 30), st.integers(1, 30))
def test_polygons_in_batches_are_those_of_single_patches(seed: int, density: float, height: int, width: int) -> None:
    changed = np.random.default_rng(seed).random((height, width)) < density
    gatherer = Gatherer(width, 1)
    cut = height // 2
    patches = gatherer.add(0, changed[:cut].astype(np.float32), changed[:cut])
    patches += [*gatherer.add(cut, changed[cut:].astype(np.float32), changed[cut:]), *gatherer.end()]
    traced = outlines(patches)
    for patch, outline, simple in zip(patches, traced, simplify_all(traced), strict=True):
        assert outline.geom_type == simple.geom_type == "MultiPolygon"
        assert outline.normalize() == patch.outline().normalize()
        assert simple.normalize() == simplify(patch.outline()).normalize()
        assert simple.is_valid


def test_a_map_of_noise_is_cut_into_patches_that_can_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = np.random.default_rng(7).random((60, 50)) < 0.6
    monkeypatch.setattr("app.monitoring.pair_patches._MOST_EDGES", 200)
    monkeypatch.setattr("app.monitoring.pair_patches._MOST_STRIP", 250)
    gatherer = Gatherer(50, 1)
    found = [*gatherer.add(0, changed.astype(np.float32), changed), *gatherer.end()]
    # 5 rows of 50 columns come to at most 250 edges beyond the 200.
    assert len(found) > 5
    assert max(patch.edges for patch in found) <= 450
    assert sum(patch.pixels for patch in found) == changed.sum()
    whole = np.zeros(changed.shape, int)
    for patch in found:
        mask, row, col = patch.mask()
        whole[row : row + mask.shape[0], col : col + mask.shape[1]] += mask
    assert np.array_equal(whole, changed.astype(int))
