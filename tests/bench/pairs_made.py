"""Pairs of images with known change for ``bench_pairs``: real ones, real ones made harder, and made ones.

Everything is seeded. Each maker gives a ``Case``; those on real data need the folder that ``--data-pairs`` names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy import ndimage
from skimage import draw

from app.sample.render import ground_reflectance
from app.sample.spectra import LandCover
from app.sample.truth import truth_arrays
from app.sample.world import World, build_world
from tests.bench.bench_simulated import DIVISIONS

Array = NDArray[np.float32]
House = tuple[float, float, float, float, float, NDArray[np.float64]]

disk: Any = draw.disk  # published without type information
polygon: Any = draw.polygon
UNCHANGED, CHANGED = 1, 2


@dataclass(frozen=True)
class Case:
    """Two images ``float32 (band, y, x)`` and the truth ``uint8 (y, x)``: 0 not scored, 1 unchanged, 2 changed."""

    name: str
    before: Array
    after: Array
    truth: NDArray[np.uint8]


def _file(path: Path) -> Array:
    with rasterio.open(path) as source:
        return np.asarray(source.read(), np.float32)


def eight_bits(image: Array) -> Array:
    """Each band stretched between its 1st and 99th percentile to 0..255, as pictures are."""
    low, high = np.percentile(image, (1, 99), axis=(1, 2))[:, :, None, None]
    return np.asarray(np.clip(np.rint((image - low) / np.maximum(high - low, 1e-9) * 255), 0, 255), np.float32)


def speckled(plane: Array, looks: int, seed: int) -> Array:
    """Multiplicative gamma speckle of so many looks (Ulaby et al. 1986), as of radar intensity."""
    rng = np.random.default_rng(seed)
    return (plane * rng.gamma(looks, 1 / looks, plane.shape)).astype(np.float32)


def _unit(image: Array) -> Array:
    return np.asarray(eight_bits(image) / 255, np.float32)


def _mixed(image: Array) -> Array:
    """Three nonlinear mixtures of all bands, as another kind of sensor would give."""
    u = _unit(image)
    n = len(u)
    return np.stack(
        [
            np.sqrt(u[0] * 0.5 + u[n - 1] * 0.5),
            (1 - u[n // 2]) ** 2 + 0.3 * u[1],
            np.abs(u[3 % n] - u[2 % n]) + 0.2 * u[n - 2],
        ]
    ).astype(np.float32)


def _tone(plane: Array) -> Array:
    """A tone curve that falls and rises again: neither order nor sign of differences survives it."""
    u = _unit(plane[None])[0]
    return np.asarray(0.15 + 0.85 * (1 - u) ** 2 + 0.5 * np.maximum(u - 0.7, 0), np.float32)


# Taizhou -------------------------------------------------------------------------------------------------------------


def taizhou(folder: Path) -> Iterator[Case]:
    before, after = (_file(folder / "landsat-taizhou" / f"{day}.tif") for day in ("2000-03-17", "2003-02-06"))
    truth = _file(folder / "landsat-taizhou" / "reference.tif")[0].astype(np.uint8)
    yield Case("taizhou", before, after, truth)
    rgb = [2, 1, 0]
    yield Case("taizhou-rgb8", eight_bits(before[rgb]), eight_bits(after[rgb]), truth)
    yield Case("taizhou-sar", eight_bits(before[rgb]), speckled(_tone(after[4])[None], 4, 1), truth)
    yield Case("taizhou-mix", before, _mixed(after), truth)
    yield Case("taizhou-nir", before[3:4], eight_bits(after[rgb]), truth)
    yield _planted("taizhou-planted", before, after, 11, truth == UNCHANGED)


# Sentinel-2 of Romania -----------------------------------------------------------------------------------------------


def _scene(folder: Path, day: str) -> Array:
    item = folder / "s2-romania" / "sentinel-2-l2a" / f"S2_L2A_{day}"
    bands = [_file(item / f"{name}.tif")[0] for name in ("blue", "green", "red", "nir", "swir16")]
    size = bands[0].shape
    return np.stack([b if b.shape == size else b.repeat(2, 0).repeat(2, 1)[: size[0], : size[1]] for b in bands])


def _planted(name: str, before: Array, after: Array, seed: int, scored: NDArray[np.bool_] | None = None) -> Case:
    """Patches of the image after, copied from elsewhere in it with soft edges, on 6 % of the ground; the whole is
    moved by part of a pixel, scaled and given noise. Where what was copied looks as what was there, nothing changed
    that an image could show; such pixels are not scored."""
    rng = np.random.default_rng(seed)
    rows, columns = after.shape[1:]
    share = np.zeros((rows, columns), np.float32)
    source = after.copy()
    while (share > 0.5).mean() < 0.06:
        radius = np.exp(rng.uniform(np.log(2), np.log(min(rows, columns) / 8)))
        noise = ndimage.gaussian_filter(rng.standard_normal((rows, columns)), max(radius / 3, 1))
        y, x = np.mgrid[:rows, :columns]
        far = np.hypot((y - rng.uniform(0, rows)) * rng.uniform(0.5, 1.5), x - rng.uniform(0, columns))
        patch = ndimage.gaussian_filter((far + noise / noise.std() * radius / 4 < radius).astype(np.float32), 0.7)
        shift = rng.integers(rows // 4, 3 * rows // 4), rng.integers(columns // 4, 3 * columns // 4)
        moved = np.roll(source, shift, (1, 2))
        after = after * (1 - patch) + moved * patch
        share = np.maximum(share, patch)
    spread = source.std(axis=(1, 2))[:, None, None]
    other = np.sqrt((((after - source) / spread) ** 2).mean(axis=0))
    truth = np.where(share > 0.5, CHANGED, UNCHANGED).astype(np.uint8)
    truth[(truth == CHANGED) & (other < 0.5)] = 0
    if scored is not None:
        truth[(truth == UNCHANGED) & ~scored] = 0
    after = ndimage.shift(after, (0, 0.4, -0.3), order=1, mode="nearest") * 1.1 + 0.05 * spread
    after = after + rng.standard_normal(after.shape) * spread * 0.08
    return Case(name, before, after.astype(np.float32), truth)


def romania(folder: Path) -> Iterator[Case]:
    names = sorted(p.name[-8:] for p in (folder / "s2-romania" / "sentinel-2-l2a").glob("S2_L2A_*"))
    usable = [n for n in names if _clear(folder, n) > 0.98]
    summers = {y: [n for n in usable if n[:4] == y and n[4:6] in ("07", "08")] for y in ("2018", "2020")}
    cut = _cut_reference(folder)
    yield Case(
        "romania-cut",
        _scene(folder, summers["2018"][0]),
        _scene(folder, summers["2020"][-1]),
        np.where(cut, 2, 1).astype(np.uint8),
    )
    older = [n for n in usable if n < "20190101"]
    spring, summer = [n for n in older if n[4:6] in ("04", "05")], [n for n in older if n[4:6] in ("07", "08")]
    autumn = [n for n in older if n[4:6] in ("09", "10")]
    for k, (a, b) in enumerate(((summer[0], summer[-1]), (spring[0], autumn[-1]), (autumn[0], summer[-2]))):
        yield _planted(f"romania-planted-{a[4:6]}-{b[4:6]}", _scene(folder, a), _scene(folder, b), 20 + k)


def _clear(folder: Path, day: str) -> float:
    item = folder / "s2-romania" / "sentinel-2-l2a" / f"S2_L2A_{day}"
    return float(np.isin(_file(item / "scl.tif"), (4, 5, 6)).mean())


def _cut_reference(folder: Path) -> NDArray[np.bool_]:
    """NDVI of clear summer days at least 0.25 below that of 2017 in 2020: the rule of the shared score."""

    def summer(year: str) -> Array:
        stack = []
        for item in sorted((folder / "s2-romania" / "sentinel-2-l2a").glob(f"S2_L2A_{year}0[6-9]*")):
            red, nir, scl = (_file(item / f"{key}.tif")[0] for key in ("red", "nir", "scl"))
            stack.append(np.where(np.isin(scl, (4, 5, 6, 7)), (nir - red) / np.maximum(nir + red, 1), np.nan))
        return np.asarray(np.nanmedian(np.stack(stack), axis=0), np.float32)

    return np.asarray(summer("2020") <= summer("2017") - 0.25)


# Simulated areas -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _world(seed: int) -> tuple[World, NDArray[np.uint8], tuple[slice, slice]]:
    world = build_world(seed, DIVISIONS)
    day, number, _ = truth_arrays(world)
    truth = np.where(day > 0, CHANGED, UNCHANGED).astype(np.uint8)
    truth[(day == 0) & (number > 0)] = 0
    density = ndimage.uniform_filter((truth == CHANGED).astype(np.float32), 240, mode="constant")
    r, c = np.unravel_index(density[120:-120, 120:-120].argmax(), (360, 360))
    return world, truth, (slice(int(r), int(r) + 240), slice(int(c), int(c) + 240))


def _look(world: World, early: bool, month: int, seed: int) -> Array:
    days = [a.day for a in world.acquisitions if a.day.month == month]
    ground = ground_reflectance(world, days[0] if early else days[-1])
    rng = np.random.default_rng(seed)
    return (ground * (1 + 0.02 * rng.standard_normal(ground.shape)) * 10_000).astype(np.float32)


def _radar(world: World, early: bool, seed: int, looks: int) -> Array:
    """Backscatter by brightness and greenness of the ground with a texture of its own, double bounce, speckle."""
    rng = np.random.default_rng(seed)
    ground = _look(world, early, 6, seed)
    ndvi = (ground[3] - ground[2]) / (ground[3] + ground[2])
    bright = ground[2] / 3000
    water = (ground[4] < 600) & (ndvi < 0.2)
    sigma = 0.03 + 0.10 * np.clip(ndvi, 0, 1) ** 2 + 0.18 * np.clip(bright - 0.3, 0, 1)
    sigma = np.where(water, 0.006, sigma)
    built = world.landscape.cover == LandCover.VILLAGE
    corner = built & (rng.random(built.shape) < 0.15)
    sigma = sigma * np.exp(0.25 * ndimage.gaussian_filter(rng.standard_normal(sigma.shape), 3) * 6)
    sigma = np.where(corner, sigma * 8, sigma)
    return speckled(ndimage.gaussian_filter(sigma, 0.5)[None].astype(np.float32), looks, seed + 1)


def simulated(seed: int) -> Iterator[Case]:
    world, truth, part = _world(seed)
    cut = np.s_[:, *part]
    summer, later = _look(world, True, 7, seed), _look(world, False, 6, seed + 1)
    autumn = _look(world, True, 10, seed + 2)
    yield Case(f"sim{seed}-summer", summer[cut], later[cut], truth[part])
    yield Case(f"sim{seed}-season", autumn[cut], later[cut], truth[part])
    more = _planted(f"sim{seed}-planted", autumn[cut], later[cut], seed)
    yield more
    all_truth = np.where(truth[part] == UNCHANGED, more.truth, truth[part])
    yield Case(f"sim{seed}-sensor", autumn[cut], eight_bits(_mixed(more.after)), all_truth)
    rgb = eight_bits(more.after[[2, 1, 0]])
    yield Case(f"sim{seed}-radar", _radar(world, True, seed, 4)[cut], rgb, all_truth)
    yield Case(f"sim{seed}-nir", autumn[3:4][cut], rgb, all_truth)


# Towns at high resolution --------------------------------------------------------------------------------------------


def _box(row: float, col: float, height: float, width: float, angle: float) -> tuple[Array, Array]:
    c, s = np.cos(angle), np.sin(angle)
    corners = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)]) * (height / 2, width / 2)
    return row + corners[:, 0] * c - corners[:, 1] * s, col + corners[:, 0] * s + corners[:, 1] * c


def town(seed: int, size: int = 448) -> Case:  # noqa: C901 - one scene after another, nothing to take apart
    """A town at some 0.5 m, dates years and a season apart: new houses on 5 to 10 % of the ground.

    Houses lean by their height with the view, cast shadows with the sun, trees gain or lose leaves, fields and
    grass change colour, cars and yards differ, and the tone of the picture differs.
    """
    rng = np.random.default_rng(seed)
    shape = (size, size)
    kind = ndimage.gaussian_filter(rng.standard_normal(shape), 40)
    kind = np.digitize(kind / kind.std(), (-0.6, 0.5))
    fine = ndimage.gaussian_filter(rng.standard_normal(shape), 1.2) * 2.5
    coarse = ndimage.gaussian_filter(rng.standard_normal(shape), 12)
    coarse = coarse / coarse.std()
    palette = {
        0: np.array([[70, 95, 55], [115, 110, 85], [150, 135, 110]], np.float64),
        1: np.array([[105, 105, 75], [75, 105, 60], [140, 125, 105]], np.float64),
    }
    angle = rng.uniform(0, np.pi / 4)
    y, x = np.mgrid[:size, :size]
    u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    block = rng.integers(70, 100)
    street = np.minimum(np.abs((u % block) - block / 2), np.abs((v % (1.4 * block)) - 0.7 * block)) < 5
    houses: list[House] = []
    taken = ndimage.binary_dilation(street, iterations=3)
    while len(houses) < 260:
        h, w = rng.uniform(12, 40, 2) if rng.random() < 0.7 else rng.uniform(30, 80, 2)
        row, col = rng.uniform(0, size, 2)
        rr, cc = polygon(*_box(row, col, h + 6, w + 6, angle), shape)
        if not len(rr) or taken[rr, cc].any():
            if rng.random() < 0.001:
                break
            continue
        taken[rr, cc] = True
        roof = rng.choice(np.array([[150, 85, 70], [120, 120, 125], [185, 180, 170], [95, 100, 120], [210, 205, 200]]))
        houses.append((row, col, h, w, rng.uniform(4, 14), roof + rng.normal(0, 12, 3)))
    trees = [(rng.uniform(0, size), rng.uniform(0, size), rng.uniform(2.5, 7)) for _ in range(500)]
    truth = np.full(shape, UNCHANGED, np.uint8)
    new = np.zeros(len(houses), bool)
    goal = rng.uniform(0.05, 0.09)
    for k in rng.permutation(len(houses)):
        if (truth == CHANGED).mean() > goal:
            break
        new[k] = True
        rr, cc = polygon(*_box(houses[k][0], houses[k][1], houses[k][2], houses[k][3], angle), shape)
        truth[rr, cc] = CHANGED
    images = []
    for time in (0, 1):
        ground = palette[time][kind] * (1 + 0.10 * coarse + 0.10 * fine)[..., None]
        ground += 10 * ndimage.gaussian_filter(rng.standard_normal(shape), 8)[..., None] * 8
        ground[street] = np.array([125, 125, 128]) + 6 * fine[street][:, None]
        image, shade = ground, np.zeros(shape, bool)
        sun = rng.uniform(-np.pi, np.pi)
        lean = rng.normal(0, 0.16, 2)
        leaves = (np.array([60, 90, 45]), np.array([100, 92, 75]))[(time + seed) % 2]
        for row, col, radius in trees:
            rr, cc = disk((row + radius * np.cos(sun), col + radius * np.sin(sun)), radius, shape=shape)
            shade[rr, cc] = True
        for k, (row, col, h, w, tall, _) in enumerate(houses):
            if time or not new[k]:
                for step in np.arange(0, tall, 1.5):
                    box = _box(row + step * np.cos(sun), col + step * np.sin(sun), h, w, angle)
                    rr, cc = polygon(*box, shape)
                    shade[rr, cc] = True
        image[shade] *= 0.45
        for row, col, radius in trees:
            rr, cc = disk((row, col), radius, shape=shape)
            image[rr, cc] = leaves * (1 + 0.2 * fine[rr, cc][:, None])
        for k, (row, col, h, w, tall, roof) in enumerate(houses):
            if time or not new[k]:
                moved = row + lean[0] * tall, col + lean[1] * tall
                for side, light in ((0.25, 0.85 + 0.3 * (np.cos(sun) > 0)), (-0.25, 1.15 - 0.3 * (np.cos(sun) > 0))):
                    part = moved[0] + side * h * np.cos(angle), moved[1] + side * h * np.sin(angle)
                    rr, cc = polygon(*_box(*part, h / 2, w, angle), shape)
                    image[rr, cc] = roof * light + 5 * fine[rr, cc][:, None]
        for _ in range(250):
            rr, cc = polygon(*_box(rng.uniform(0, size), rng.uniform(0, size), 4, 8, angle), shape)
            if street[rr, cc].all():
                image[rr, cc] = rng.uniform(40, 230)
        tone = image * rng.uniform(0.8, 1.2) + rng.normal(0, 10, 3)
        tone = ndimage.gaussian_filter(tone, (0.6, 0.6, 0)) + rng.normal(0, 4, image.shape)
        images.append(np.clip(np.rint(tone), 0, 255).astype(np.float32).transpose(2, 0, 1))
    return Case(f"town{seed}", images[0], images[1], truth)


def cases(folder: Path | None, seeds: tuple[int, ...] = (1, 2)) -> Iterator[Case]:
    """All cases; those on real data only where the folder is given."""
    if folder is not None:
        yield from taizhou(folder)
        yield from romania(folder)
    for seed in seeds:
        yield from simulated(seed)
    makers: Callable[[int], Case] = town
    for seed in seeds:
        yield makers(seed)


def patchwork(path: Path, size: int, bands: int, block: int, date: int) -> None:
    """A large uint8 GeoTIFF, deflate, of fields whose look depends on the date, with some noise, block by block."""
    profile = {"driver": "GTiff", "dtype": "uint8", "count": bands, "height": size, "width": size, "nodata": 0}
    kinds = np.random.default_rng(0).integers(0, 6, (size // 40 + 2, size // 40 + 2))
    look = np.random.default_rng(date).uniform(40, 200, (bands, 6))
    with rasterio.open(path, "w", **profile, tiled=True, blockxsize=block, blockysize=block, compress="deflate") as out:
        for number, (_, window) in enumerate(out.block_windows(1)):
            rng = np.random.default_rng((date, number))
            y = (np.arange(window.height) + window.row_off) // 40
            x = (np.arange(window.width) + window.col_off) // 40
            plane = look[:, kinds[np.ix_(y, x)]] + rng.normal(0, 5, (bands, window.height, window.width))
            out.write(np.clip(plane, 1, 255).astype(np.uint8), window=window)
