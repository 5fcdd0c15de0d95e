"""Where and when changes and decoys are planted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.random import Generator
from rasterio.features import shapes
from scipy import ndimage
from shapely.geometry import MultiPolygon, Polygon, shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from app.sample.boundaries import ENCLAVE, FUSONG, LINJIANG, Boundaries, Feature
from app.sample.changes import EPOCH, NEVER, Change, empty_raster, filling, growing
from app.sample.climate import Climate
from app.sample.grid import BoolArray, Grid
from app.sample.landscape import Landscape
from app.sample.shapes import Impoundment, blob, strip, winding_line, yard
from app.sample.spectra import CROPS, FOREST, LandCover

#: Pixels kept free around every planted change or decoy.
GAP = 8
EDGE = 10
TRIES = 900
OPEN_MONTHS = (4, 5, 6, 7, 8, 9, 10)


class PlantingError(Exception):
    """A landscape on which the changes find no room; the caller draws another."""


@dataclass(frozen=True)
class Plan:
    """When things may begin: planted changes between `history_until` and `end`."""

    history_until: date
    end: date

    @property
    def days(self) -> int:
        return (self.end - self.history_until).days

    def draw(self, rng: Generator, low: float, high: float, months: tuple[int, ...] | None = None) -> date:
        """A day between two shares of the monitored span, in given months where possible."""
        day = self.history_until
        for _ in range(60):
            day = self.history_until + timedelta(days=int(rng.uniform(low, high) * self.days))
            if months is None or day.month in months:
                break
        return day

    def length(self, days: float) -> int:
        """A duration, cut to half the monitored span."""
        return int(min(days, 0.5 * self.days))


@dataclass(frozen=True)
class Kind:
    """How one kind of change is planted; fractions are of the monitored span, `days` of its growth."""

    key: str
    activity: str | None
    decoy: str | None
    profile: str
    change_to: str
    when: tuple[float, float]
    days: tuple[int, int]
    months: tuple[int, ...] | None = None
    mode: str = "outward"
    first: float = 0.0


KINDS = {
    k.key: k
    for k in (
        Kind("dam", "impoundment", None, "impoundment", "water", (0.08, 0.55), (50, 90), (4, 5, 6, 7, 8, 9)),
        Kind("road", "road", None, "road", "road", (0.05, 0.70), (25, 55), OPEN_MONTHS, "along"),
        Kind("permitted-road", "road", "permitted", "road", "road", (0.05, 0.70), (20, 40), OPEN_MONTHS, "along"),
        Kind("mine", "mining", None, "mining", "mine", (0.05, 0.35), (150, 270), OPEN_MONTHS, "outward", 0.2),
        Kind("quarry", "quarry", None, "quarry", "rock", (0.10, 0.60), (60, 150), None, "outward", 0.3),
        Kind("construction", "construction", None, "construction", "buildings", (0.08, 0.65), (8, 18), OPEN_MONTHS),
        Kind("clearing", "clearing", None, "clearing", "cleared_ground", (0.05, 0.80), (5, 18)),
        Kind("clearing-outside", "clearing", None, "clearing", "cleared_ground", (0.05, 0.80), (5, 18)),
        Kind("fire", None, "fire", "fire", "burnt", (0.05, 0.80), (1, 4), (4, 5, 10)),
    )
}


class Planter:
    """Plants on one landscape; `changes` and `permits` hold the result."""

    def __init__(self, rng: Generator, land: Landscape, bounds: Boundaries, climate: Climate, plan: Plan) -> None:
        self.rng, self.land, self.bounds, self.climate, self.plan = rng, land, bounds, climate, plan
        self.grid: Grid = land.grid
        self.changes: list[Change] = []
        self.permits: list[Feature] = []
        self._forest = np.isin(land.cover, [int(c) for c in FOREST])
        self._taken: BoolArray = np.ones((self.grid.size, self.grid.size), dtype=np.bool_)
        self._taken[EDGE:-EDGE, EDGE:-EDGE] = False
        self._taken |= land.cover == LandCover.ROCK
        self._red = self.grid.mask(bounds.redline_union())
        core, general = bounds.zone("core_protection"), bounds.zone("general_control")
        self._core = self.grid.mask(core)
        self._watched = self._red | self._core | self.grid.mask(general)
        self._unit = {code: self.grid.mask(geometry) for code, geometry in bounds.units.items()}

    def plant(self) -> None:
        """Plant everything, the hardest to place first.

        Raises:
            PlantingError: something found no room.
        """
        s, rng = self.grid.scale, self.rng
        everywhere = np.ones_like(self._red)
        # Forest roads set out from the forest's edge or from a track.
        edge = ndimage.distance_transform_edt(self._forest) <= 12
        self._plant_dam()
        self._plant("road", self._road_maker(1150, 1500, 10.5, 14), self._red, 0.45, everywhere, edge)
        self._plant("permitted-road", self._road_maker(650, 950, 11, 14), self._red, 0.5, everywhere, edge)
        self._permit(self.changes[-1])
        self._plant("mine", self._blob_maker(85, 125, 1.5), self._red, 0.6, self._unit[LINJIANG])
        self._plant("quarry", self._blob_maker(58, 80, 1.2), self._core, 0.95, self._unit[FUSONG])
        self._plant(
            "construction",
            lambda at: yard(rng, at, rng.uniform(110, 160) * s**0.5, rng.uniform(80, 120) * s**0.5),
            self._red,
            0.6,
            self._unit[ENCLAVE],
        )
        self._plant("fire", self._blob_maker(110, 160, 1.8), self._red, 0.5, everywhere)
        self._plant("clearing", self._blob_maker(60, 95, 1.7), self._red, 0.8, self._unit[LINJIANG])
        outside = np.asarray(ndimage.distance_transform_edt(~self._watched) > 3)
        self._plant("clearing-outside", self._blob_maker(50, 75, 1.5), outside, 1.0, outside)
        self._low_water()
        self._field_decoys()

    def _blob_maker(self, low: float, high: float, stretch: float) -> Callable[[tuple[float, float]], Polygon]:
        rng, scale = self.rng, self.grid.scale**0.5
        return lambda at: blob(rng, at, float(rng.uniform(low, high)) * scale, float(rng.uniform(1, stretch)))

    def _road_maker(
        self, short: float, long: float, narrow: float, wide: float
    ) -> Callable[[tuple[float, float]], Polygon]:
        rng, scale = self.rng, self.grid.scale

        def make(at: tuple[float, float]) -> Polygon:
            length = float(rng.uniform(short, long)) * scale
            axis = winding_line(rng, at, float(rng.uniform(0, 2 * math.pi)), length)
            return strip(axis, float(rng.uniform(narrow, wide)))

        return make

    def _fits(self, geometry: BaseGeometry, inside: BoolArray, least: float, region: BoolArray) -> bool:
        """Whether a footprint lies in forest, in its region, far from the others and inside enough."""
        if not geometry.is_valid or not self.grid.box.buffer(-10 * EDGE).contains(geometry):
            return False
        window, cover = empty_raster(self.grid, geometry)
        foot = cover > 0.25
        count = int(foot.sum())
        if count < 12 or self._taken[window][foot].any():
            return False
        forest = self._forest[window][foot].mean()
        return bool(forest > 0.95 and region[window][foot].mean() > 0.97 and inside[window][foot].mean() >= least)

    def _take(self, cover: np.ndarray[tuple[int, ...], np.dtype[np.float32]], window: tuple[slice, slice]) -> None:
        mask = np.zeros_like(self._taken)
        mask[window] = cover > 0
        self._taken |= ndimage.distance_transform_edt(~mask) <= GAP

    def _plant(
        self,
        key: str,
        make: Callable[[tuple[float, float]], Polygon],
        inside: BoolArray,
        least: float,
        region: BoolArray,
        begin: BoolArray | None = None,
    ) -> None:
        """Try random places in `region` until a footprint fits; `begin` limits where an outline starts."""
        start = inside if begin is None else np.asarray(begin)
        room = np.argwhere(region & start & self._forest & ~self._taken)
        for _ in range(TRIES if len(room) else 0):
            row, col = room[int(self.rng.integers(len(room)))]
            geometry = make(self.grid.centre_of(float(row), float(col)))
            if self._fits(geometry, inside, least, region):
                kind = KINDS[key]
                change = self._draft(kind, geometry)
                days = self.plan.length(float(self.rng.uniform(*kind.days)))
                self._add(growing(self.rng, change, self.grid, days, kind.mode, kind.first))
                return
        raise PlantingError(key)

    def _draft(self, kind: Kind, geometry: BaseGeometry) -> Change:
        window, cover = empty_raster(self.grid, geometry)
        covers = self.land.cover[window][cover > 0.25]
        common = int(np.bincount(covers).argmax())
        return Change(
            key=kind.key,
            activity=kind.activity,
            decoy=kind.decoy,
            real=True,
            geometry=geometry,
            starts=self.plan.draw(self.rng, *kind.when, kind.months),
            ends=None,
            change_from=LandCover(common).name.lower(),
            change_to=kind.change_to,
            profile=kind.profile,
            window=window,
            cover=cover,
            mix=np.zeros_like(cover),
            start=np.full(cover.shape, NEVER, dtype=np.int32),
        )

    def _add(self, change: Change) -> None:
        self.changes.append(change)
        self._take(change.cover, change.window)

    def _plant_dam(self) -> None:
        for _ in range(60):
            where = float(self.rng.uniform(0.17, 0.30)) * self.grid.side_m
            dam = Impoundment(self.rng, self.land, where + abs(self.land.frame.river_offset))
            geometry = unary_union([dam.barrier, dam.reservoir.buffer(0.5)])
            if not isinstance(geometry, Polygon) or not self.grid.box.buffer(-10 * EDGE).contains(geometry):
                continue
            window, cover = empty_raster(self.grid, geometry)
            foot = cover > 0.25
            bed = np.isin(self.land.cover[window][foot], [int(c) for c in (*FOREST, LandCover.MEADOW, LandCover.SHRUB)])
            if bed.mean() < 0.9 or self._red[window][foot].mean() < 0.6:
                continue
            kind = KINDS["dam"]
            days = self.plan.length(float(self.rng.uniform(*kind.days)))
            self._add(filling(self.rng, self._draft(kind, geometry), self.grid, dam, days))
            return
        raise PlantingError("dam")

    def _permit(self, road: Change) -> None:
        """The permit whose polygon holds the authorised road."""
        row = {
            "code": "SIM-PERMIT-001",
            "name": "林区防火道路改建工程（模拟）",
            "permit_kind": "linear_infrastructure",
            "holder": "模拟林业局",
            "document": "模拟认定〔2024〕1号",
            "valid_from": (road.starts - timedelta(days=90)).isoformat(),
            "valid_to": (road.starts + timedelta(days=3 * 365)).isoformat(),
        }
        ground = road.geometry.buffer(35).simplify(4)
        if not isinstance(ground, Polygon):
            raise PlantingError("permit")
        self.permits.append(Feature(row, MultiPolygon([ground])))

    def _field_decoys(self) -> None:
        """The spring ploughing and the autumn harvest of two groups of fields that a red line cuts."""
        ent = self.land.entities
        for key, days_of_year, last in (("ploughing", ent.plough, False), ("harvest", ent.harvest, True)):
            group = self._field_group()
            if group is None:
                raise PlantingError(key)
            mask, seed_field = group
            found = self._event_day(days_of_year[seed_field], last)
            if found is None:
                continue
            self._decoy(key, mask, found, None, "crop", "bare_soil" if key == "ploughing" else "stubble")

    def _event_day(self, days_of_year: np.ndarray[tuple[int, ...], np.dtype[np.float32]], last: bool) -> date | None:
        years = self.land.entities.years
        days = [date(y, 1, 1) + timedelta(days=round(float(d)) - 1) for y, d in zip(years, days_of_year, strict=True)]
        days = [d for d in days if self.plan.history_until < d <= self.plan.end]
        return (days[-1] if last else days[0]) if days else None

    def _field_group(self) -> tuple[BoolArray, int] | None:
        """A field that a red line touches, with its neighbours, 1 to 4 ha, clear of everything planted."""
        first = self.land.first
        farmed = np.isin(self.land.cover, [int(c) for c in CROPS]) & ~self._taken
        touched = np.unique(first[farmed & self._red])
        for field in self.rng.permutation(touched)[:200]:
            own = (first == field) & farmed
            if int(own.sum()) < 30:
                continue
            near = ndimage.binary_dilation(own, iterations=2) & farmed
            around, counts = np.unique(first[near], return_counts=True)
            members = [int(f) for f, c in zip(around, counts, strict=True) if c >= 12][:3]
            mask = np.isin(first, [int(field), *members]) & farmed
            labels = ndimage.label(mask)[0]
            mask = labels == np.bincount(labels[own]).argmax()
            if 90 <= int(mask.sum()) <= 500 and (mask & self._red).any():
                return np.asarray(mask), int(field)
        return None

    def _low_water(self) -> None:
        """Lake bed that lies dry in the drawdown and at no ordinary open-season level."""
        climate, depth = self.climate, self.land.depth_lake
        days = [climate.first + timedelta(days=i) for i in range(len(climate.lake_m))]
        from_day, to_day = climate.drawdown
        levels = np.array([x for d, x in zip(days, climate.lake_m, strict=True) if 5 <= d.month <= 10 and d < from_day])
        usual = float(np.median(levels)) if len(levels) else 0.0
        span = [climate.index(min(max(d, days[0]), days[-1])) for d in (from_day, to_day)]
        low = climate.lake_m[span[0] : span[1] + 1]
        bared = (depth + usual > 0) & (depth + float(low.min()) < 0) & ~self._taken
        if int(bared.sum()) < 15:
            raise PlantingError("low-water")
        below = np.flatnonzero(low < 0.5 * (usual + float(low.min())))
        starts = days[span[0] + int(below[0])]
        ends = days[span[0] + int(below[-1])]
        self._decoy("low-water", bared, starts, ends, "water", "shore")

    def _decoy(self, key: str, mask: BoolArray, starts: date, ends: date | None, before: str, after: str) -> None:
        found = shapes(mask.astype(np.uint8), mask=mask, transform=self.grid.transform(), connectivity=4)
        parts = [shape(g) for g, _ in found]
        geometry = unary_union([p for p in parts if p.area >= 600] or parts)
        window = self.grid.window(geometry, pad=1)
        cover = self.grid.coverage(geometry, window, 1)
        start = np.where(cover > 0, (starts - EPOCH).days, NEVER).astype(np.int32)
        self._add(
            Change(
                key=key,
                activity=None,
                decoy=key.replace("-", "_"),
                real=False,
                geometry=geometry,
                starts=starts,
                ends=ends,
                change_from=before,
                change_to=after,
                profile=None,
                window=window,
                cover=cover,
                mix=np.zeros_like(cover),
                start=start,
            )
        )
