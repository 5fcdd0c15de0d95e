"""The ground before any planted change: relief, waters, stands, fields, villages and roads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from app.sample.grid import FloatArray, Grid, IntArray
from app.sample.noise import enlarge, fractal
from app.sample.season import LEVELS, Entities, Phenology, draw_fields
from app.sample.spectra import CROPS, FOREST, TEXTURE, LandCover

OVERSAMPLE = 2
#: Depth below mean level given to ground that no water reaches, metres.
DRY = -99.0


@dataclass(frozen=True)
class Frame:
    """A seeded local frame: v runs along the river, u across it, both metres from the grid's centre."""

    angle: float
    stream_side: int
    river: tuple[tuple[float, float, float], ...]
    river_offset: float
    stream: tuple[tuple[float, float, float], ...]
    stream_offset: float

    def rotate(self, east: FloatArray, north: FloatArray) -> tuple[FloatArray, FloatArray]:
        c, s = np.float32(math.cos(self.angle)), np.float32(math.sin(self.angle))
        return east * c + north * s, north * c - east * s

    def unrotate(self, u: float, v: float) -> tuple[float, float]:
        c, s = math.cos(self.angle), math.sin(self.angle)
        return u * c - v * s, u * s + v * c

    def river_u(self, v: FloatArray) -> FloatArray:
        return self.river_offset + _waves(self.river, v)

    def stream_v(self, u: FloatArray) -> FloatArray:
        return self.stream_offset + _waves(self.stream, u)

    def river_distance(self, u: FloatArray, v: FloatArray) -> FloatArray:
        """Metres across from the river's axis, signed; slope-corrected, so good near the axis."""
        tilt = (self.river_u(v + 5) - self.river_u(v - 5)) / 10
        return np.asarray((u - self.river_u(v)) / np.sqrt(1 + tilt**2), dtype=np.float32)

    def stream_distance(self, u: FloatArray, v: FloatArray) -> FloatArray:
        tilt = (self.stream_v(u + 5) - self.stream_v(u - 5)) / 10
        return np.asarray(np.abs(v - self.stream_v(u)) / np.sqrt(1 + tilt**2), dtype=np.float32)


@dataclass(frozen=True)
class Landscape:
    """Everything static that a scene is rendered from; arrays are (n, n) unless said otherwise.

    first, second: the two entities of a pixel, share: the first one's part; level: index into LEVELS;
    cover: LandCover; depth_lake, depth_river: metres of bed below mean level, DRY where dry for ever;
    texture: (3, n, n) factors for visible, near and short-wave infrared; snow_factor: pack against open
    flat ground; east_slope, north_slope: rise over run; relief: how much shading applies, 0..1.
    """

    grid: Grid
    frame: Frame
    entities: Entities
    first: IntArray
    second: IntArray
    share: FloatArray
    level: IntArray
    cover: IntArray
    height: FloatArray
    east_slope: FloatArray
    north_slope: FloatArray
    relief: FloatArray
    depth_lake: FloatArray
    depth_river: FloatArray
    texture: FloatArray
    snow_factor: FloatArray


def _waves(terms: tuple[tuple[float, float, float], ...], x: FloatArray) -> FloatArray:
    total = np.zeros_like(x)
    for amplitude, length, phase in terms:
        total = total + np.float32(amplitude) * np.sin(2 * np.pi * x / np.float32(length) + np.float32(phase))
    return np.asarray(total, dtype=np.float32)


def draw_frame(rng: Generator, grid: Grid) -> Frame:
    side = float(grid.side_m)

    def terms(count: int, height: float, longest: float) -> tuple[tuple[float, float, float], ...]:
        return tuple(
            (height / (k + 1), longest / (k + 1) ** 1.1, float(rng.uniform(0, 2 * math.pi))) for k in range(count)
        )

    return Frame(
        angle=float(rng.uniform(-0.45, 0.45) + rng.integers(0, 4) * math.pi / 2),
        stream_side=int(rng.choice([-1, 1])),
        river=terms(3, 0.035 * side, 0.55 * side),
        river_offset=float(rng.uniform(-0.10, 0.10) * side),
        stream=terms(3, 0.022 * side, 0.40 * side),
        stream_offset=float(rng.uniform(-0.12, 0.12) * side),
    )


def _relief(rng: Generator, grid: Grid, frame: Frame) -> FloatArray:
    """Heights in metres: a flood plain, slopes rising from it, spurs, and the stream's valley."""
    u, v = frame.rotate(*grid.coordinates())
    across = np.abs(u - frame.river_u(v))
    valley = 480 * grid.scale
    rise = np.clip((across - valley) / 900, 0, None)
    slope = np.asarray(1 - np.exp(-rise), dtype=np.float32)
    spurs = fractal(rng, grid.size, 4.0, longest=grid.size / 2.5)
    small = fractal(rng, grid.size, 3.6, longest=60)
    upstream = np.clip(frame.stream_side * u / (0.3 * grid.side_m), 0, 1)
    notch = np.exp(-((frame.stream_distance(u, v) / 190) ** 2)) * upstream
    height = 470 + 0.004 * v + slope * (270 + 70 * spurs + 9 * small) * (1 - 0.55 * notch) + 1.2 * spurs
    return np.asarray(ndimage.gaussian_filter(height, 2.0), dtype=np.float32)


def _waters(rng: Generator, grid: Grid, frame: Frame) -> tuple[FloatArray, FloatArray]:
    """Bed depth below mean level of the lake and the river, metres, on the oversampled grid."""
    u, v = frame.rotate(*grid.coordinates(OVERSAMPLE))
    bars = enlarge(fractal(rng, grid.size, 2.6, longest=25), OVERSAMPLE)
    half_width = 21 * (0.6 + 0.4 * grid.scale) + 5 * _waves(((1.0, 900.0, 1.0), (0.6, 370.0, 2.0)), v)
    river = (half_width - np.abs(frame.river_distance(u, v))) / 13 + 0.30 * bars
    river = np.where(np.abs(frame.river_distance(u, v)) < half_width + 22, river, DRY)

    radius = 300 * grid.scale
    lake_v = float(rng.choice([-1, 1]) * rng.uniform(0.22, 0.32) * grid.side_m)
    at = np.array([lake_v], dtype=np.float32)
    lake_u = float(frame.river_u(at)[0]) - frame.stream_side * (radius + 190 * grid.scale)
    du, dv = u - lake_u, (v - lake_v) * 0.72
    angle = np.arctan2(dv, du)
    edge = radius * (1 + 0.16 * np.sin(2 * angle + 1.1) + 0.08 * np.sin(3 * angle + 4.0))
    edge = edge * (1 + 0.03 * np.sin(7 * angle + 0.5))
    away = np.hypot(du, dv)
    lake = (edge - away) / 24 + 0.12 * bars
    lake = np.where(away < edge + 75 * max(grid.scale, 0.7), np.minimum(lake, 8.0), DRY)
    return lake.astype(np.float32), river.astype(np.float32)


class _Entities:
    """Collects entities while regions of the oversampled grid are claimed."""

    def __init__(self, rng: Generator, size: int) -> None:
        self.rng = rng
        self.label: IntArray = np.full((size, size), -1, dtype=np.int32)
        self.kind: list[int] = []

    def add(self, kinds: list[int]) -> int:
        start = len(self.kind)
        self.kind.extend(kinds)
        return start

    def paint(self, where: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], kind: LandCover) -> None:
        start = self.add([int(kind)])
        self.label[where] = start


def _cells(rng: Generator, grid: Grid, points: FloatArray, bend_m: float) -> IntArray:
    """Index of the nearest of `points` (metres east, north), with edges bent by smooth noise.

    No border is straight where nature would not have it so. Shape of the oversampled grid.
    """
    size, step = grid.size * OVERSAMPLE, 10.0 / OVERSAMPLE
    cols = np.clip((points[:, 0] + grid.side_m / 2) / step, 0, size - 1).astype(np.intp)
    rows = np.clip((grid.side_m / 2 - points[:, 1]) / step, 0, size - 1).astype(np.intp)
    seeds = np.full((size, size), -1, dtype=np.int32)
    seeds[rows, cols] = np.arange(len(points))
    nearest = ndimage.distance_transform_edt(seeds < 0, return_distances=False, return_indices=True)
    plain = seeds[nearest[0], nearest[1]]
    bend = [enlarge(fractal(rng, grid.size, 3.8, longest=40), OVERSAMPLE) * (bend_m / step) for _ in range(2)]
    axis = np.arange(size, dtype=np.float32)
    row = np.clip(np.rint(axis[:, None] + bend[0]), 0, size - 1).astype(np.intp)
    col = np.clip(np.rint(axis[None, :] + bend[1]), 0, size - 1).astype(np.intp)
    return np.asarray(plain[row, col], dtype=np.int32)


def _stands(book: _Entities, grid: Grid, height: FloatArray) -> None:
    """Forest stands of some 10 to 30 ha, kind by height and chance."""
    rng = book.rng
    count = max(24, int(grid.side_m**2 / 190_000))
    points = (rng.random((count, 2)) - 0.5) * grid.side_m * 1.05
    cell = np.clip(((points + grid.side_m / 2) / 10).astype(int), 0, grid.size - 1)
    altitude = height[grid.size - 1 - cell[:, 1], cell[:, 0]]
    high = np.clip((altitude - 520) / 330, 0, 1)
    kinds: list[int] = []
    for h in high:
        odds = np.array([0.50 - 0.20 * h, 0.08 + 0.20 * h, 0.24 + 0.06 * h, 0.18 - 0.06 * h])
        kinds.append(int(rng.choice([int(k) for k in FOREST], p=odds / odds.sum())))
    start = book.add(kinds)
    book.label[:] = start + _cells(rng, grid, points.astype(np.float32), 45.0)


def _open_ground(book: _Entities, grid: Grid, share: float) -> None:
    """Meadows and scrub among the stands, in glades some hundred metres wide, each with a look of its own."""
    rng = book.rng
    count = max(16, int(grid.side_m**2 / 250_000))
    points = ((rng.random((count, 2)) - 0.5) * grid.side_m * 1.05).astype(np.float32)
    kinds = [int(rng.choice([int(LandCover.MEADOW), int(LandCover.SHRUB)], p=[0.65, 0.35])) for _ in range(count)]
    glades = enlarge(fractal(rng, grid.size, 3.8, longest=110), OVERSAMPLE)
    where = glades > np.quantile(glades, 1 - share)
    start = book.add(kinds)
    book.label[where] = start + _cells(rng, grid, points, 45.0)[where]


def _fields(book: _Entities, grid: Grid, frame: Frame, where: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    """Strip fields: blocks of one orientation cut into strips 30 to 80 m wide and 120 to 260 m long."""
    rng = book.rng
    count = max(10, int(grid.side_m**2 / 550_000))
    points = ((rng.random((count, 2)) - 0.5) * grid.side_m).astype(np.float32)
    block = _cells(rng, grid, points, 20.0)
    u, v = frame.rotate(*grid.coordinates(OVERSAMPLE))
    turn = rng.normal(0, 0.25, count).astype(np.float32)[block]
    width = rng.uniform(34, 80, count).astype(np.float32)[block]
    length = rng.uniform(130, 260, count).astype(np.float32)[block]
    p = u * np.cos(turn) + v * np.sin(turn)
    q = v * np.cos(turn) - u * np.sin(turn)
    strip = np.floor(q / width).astype(np.int64)
    part = np.floor((p + 37.0 * strip) / length).astype(np.int64)
    code = (block.astype(np.int64) * 4096 + strip + 2048) * 4096 + part + 2048
    _, inverse = np.unique(code[where], return_inverse=True)
    total = int(inverse.max()) + 1 if inverse.size else 0
    across = np.abs(u - frame.river_u(v))[where]
    mean = np.bincount(inverse, across) / np.maximum(np.bincount(inverse), 1)
    dice = rng.random(total)
    # Paddies lie low, by the water.
    paddy = dice < np.where(mean < 230 * grid.scale, 0.45, 0.04)
    upland = np.where(rng.random(total) < 0.70, int(LandCover.MAIZE), int(LandCover.SOY))
    kinds = np.where(paddy, int(LandCover.RICE), upland)
    start = book.add([int(k) for k in kinds])
    book.label[where] = start + inverse.astype(np.int32)


def _settle(book: _Entities, grid: Grid, frame: Frame, dry: FloatArray) -> None:
    """Villages, the valley road, a forest track and an old, quiet quarry."""
    rng = book.rng
    east, north = grid.coordinates(OVERSAMPLE)
    u, v = frame.rotate(east, north)
    side = frame.stream_side
    road = frame.river_distance(u, v) - side * (210 * grid.scale + 20 * np.sin(v / 300))
    for position in rng.uniform(-0.33, 0.33, 2) * grid.side_m:
        centre_u = float(frame.river_u(np.array([position], np.float32))[0]) + side * 270 * grid.scale
        away = np.hypot((u - centre_u) * 1.3, (v - position) * 0.8)
        wobble = 1 + 0.2 * np.sin(4 * np.arctan2(v - position, u - centre_u) + 1)
        book.paint((away < 110 * grid.scale * wobble) & (dry > 0), LandCover.VILLAGE)
    book.paint((np.abs(road) < 4.5) & (dry > 0), LandCover.ROAD)
    track = v - (frame.stream_v(u) + 70 * grid.scale + 25 * np.sin(u / 210))
    book.paint((np.abs(track) < 3.0) & (side * (u - frame.river_u(v)) > 230 * grid.scale), LandCover.ROAD)
    old_u = -side * 0.36 * grid.side_m
    old_v = float(rng.uniform(-0.25, 0.25)) * grid.side_m
    angle = np.arctan2(v - old_v, u - old_u)
    book.paint(np.hypot(u - old_u, v - old_v) < 55 * grid.scale * (1 + 0.2 * np.sin(3 * angle)), LandCover.ROCK)


def _cover_labels(
    rng: Generator, grid: Grid, frame: Frame, height: FloatArray, open_share: float
) -> tuple[_Entities, FloatArray, FloatArray]:
    """Entity labels on the oversampled grid, and both beds' depths there."""
    book = _Entities(rng, grid.size * OVERSAMPLE)
    _stands(book, grid, height)
    if open_share > 0:
        _open_ground(book, grid, open_share)
    lake, river = _waters(rng, grid, frame)
    u, v = frame.rotate(*grid.coordinates(OVERSAMPLE))
    across = np.abs(u - frame.river_u(v))
    plain = enlarge(fractal(rng, grid.size, 3.6, longest=90), OVERSAMPLE)
    width = 560 * grid.scale * (1 + 0.28 * plain)
    rough = enlarge(fractal(rng, grid.size, 3.4, longest=40), OVERSAMPLE)
    wild = (across < 60 * grid.scale + 18 * rough) | ((across < width) & (rough > 1.25))
    farmed = (across < width) & ~wild
    edge = (across >= width) & (across < width + 45 + 25 * rough)
    bank = frame.stream_distance(u, v) < 24 + 9 * rough
    bank &= (frame.stream_side * (u - frame.river_u(v)) > 0) & ~farmed
    book.paint((across < width) & wild, LandCover.MEADOW)
    book.paint(edge | (wild & (rough < -0.9) & (across < width)), LandCover.SHRUB)
    book.paint(bank, LandCover.MEADOW)
    _fields(book, grid, frame, farmed)
    dry = np.where((lake > DRY) | (river > DRY), -1.0, 1.0).astype(np.float32)
    _settle(book, grid, frame, dry)
    # The beds reach a little beyond the highest level; the shore is bare as far as floods scour it.
    book.paint((lake > -1.15) | (river > -0.95), LandCover.SHORE)
    return book, lake, river


def _majority(label: IntArray, size: int) -> tuple[IntArray, IntArray, FloatArray]:
    """The two commonest labels of each pixel and the first one's share of the two."""
    blocks = label.reshape(size, OVERSAMPLE, size, OVERSAMPLE).transpose(0, 2, 1, 3).reshape(size, size, -1)
    votes = np.sort(blocks, axis=-1)
    middle = votes[..., votes.shape[-1] // 2]
    # Of sorted votes the middle one is the majority wherever there is one.
    same = (votes == middle[..., None]).sum(-1)
    low, high = votes[..., 0], votes[..., -1]
    take_low = (votes == low[..., None]).sum(-1) * (low != middle)
    take_high = (votes == high[..., None]).sum(-1) * (high != middle)
    second = np.where(take_low >= take_high, low, high)
    other = np.maximum(take_low, take_high)
    share = same / np.maximum(same + other, 1)
    return middle.astype(np.int32), second.astype(np.int32), share.astype(np.float32)


def _describe(rng: Generator, kinds: list[int], years: tuple[int, ...], phenology: Phenology) -> Entities:
    kind = np.array(kinds, dtype=np.int32)
    count = len(kind)
    crop, plough, harvest, turned = draw_fields(rng, kind, years, phenology)
    farmed = np.isin(kind, CROPS)
    steady = rng.normal(1.0, np.where(farmed, 0.06, 0.04))
    yearly = rng.normal(0.0, np.where(farmed, 0.045, 0.015)[:, None], (count, len(years)))
    return Entities(
        years=years,
        kind=kind,
        shift=np.where(farmed, rng.normal(0, 5, count), rng.normal(0, 2.2, count)).astype(np.float32),
        vigour=np.clip(steady[:, None] + yearly, 0.75, 1.12).astype(np.float32),
        share=rng.uniform(0.25, 0.7, count).astype(np.float32),
        tone=np.clip(1 + rng.normal(0, 0.045, (count, 1)) + rng.normal(0, 0.02, (count, 5)), 0.8, 1.25).astype(
            np.float32
        ),
        crop=crop,
        plough=plough,
        harvest=harvest,
        autumn_plough=turned,
    )


def _texture(rng: Generator, grid: Grid, cover: IntArray) -> FloatArray:
    """Static per-pixel factors, (3, n, n): crowns, gaps, rows, roofs; the three groups agree mostly."""
    common = 0.65 * fractal(rng, grid.size, 1.2, longest=12) + 0.75 * rng.standard_normal(cover.shape)
    patches = fractal(rng, grid.size, 2.6, longest=50)
    factors = np.empty((3, *cover.shape), dtype=np.float32)
    for group in range(3):
        spread = np.zeros(15, dtype=np.float32)
        for code, values in TEXTURE.items():
            spread[int(code)] = values[group]
        own = 0.8 * common + 0.45 * rng.standard_normal(cover.shape) + 0.5 * patches
        factors[group] = np.clip(1 + spread[cover] * own, 0.5, 1.9)
    return factors


def build_landscape(
    rng: Generator, grid: Grid, years: tuple[int, ...], phenology: Phenology, open_share: float = 0.0
) -> Landscape:
    """Draw the landscape of one seed; `open_share`: part of the slopes, 0..1, that is meadow and scrub."""
    frame = draw_frame(rng, grid)
    height = _relief(rng, grid, frame)
    book, lake_fine, river_fine = _cover_labels(rng, grid, frame, height, open_share)
    first, second, share = _majority(book.label, grid.size)
    entities = _describe(rng, book.kind, years, phenology)
    shape = (grid.size, OVERSAMPLE, grid.size, OVERSAMPLE)
    lake = lake_fine.reshape(shape).mean(axis=(1, 3), dtype=np.float32)
    river = river_fine.reshape(shape).mean(axis=(1, 3), dtype=np.float32)
    cover = np.where((lake > 0) | (river > 0), int(LandCover.WATER), entities.kind[first]).astype(np.int32)

    south_slope, east_slope = (np.asarray(g, dtype=np.float32) for g in np.gradient(height, 10.0))
    flat = np.isin(cover, (*CROPS, LandCover.WATER, LandCover.SHORE, LandCover.VILLAGE))
    relief = ndimage.gaussian_filter(np.where(flat, 0.15, 1.0).astype(np.float32), 2.0)
    delay = (height - 560) / 100 * 2.4 + 1.8 * fractal(rng, grid.size, 2.2, longest=30)
    level = np.clip(np.rint((delay - LEVELS[0]) / (LEVELS[1] - LEVELS[0])), 0, len(LEVELS) - 1)
    # Northern slopes keep their snow longest; drifts and wind do the rest.
    shade = 3.0 * south_slope
    snow = 1 + (height - 560) / 700 + 0.5 * shade + 0.22 * fractal(rng, grid.size, 2.2, longest=40)
    return Landscape(
        grid=grid,
        frame=frame,
        entities=entities,
        first=first,
        second=second,
        share=share,
        level=level.astype(np.int32),
        cover=cover,
        height=height,
        east_slope=east_slope,
        north_slope=-south_slope,
        relief=relief.astype(np.float32),
        depth_lake=lake,
        depth_river=river,
        texture=_texture(rng, grid, cover),
        snow_factor=np.clip(snow, 0.25, 2.4).astype(np.float32),
    )
