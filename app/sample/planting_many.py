"""Plants many changes of all kinds and sizes: the recipe "many", made for measuring recognition."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from app.sample.changes import Change, growing, window_coordinates
from app.sample.grid import CENTRE, BoolArray, FloatArray
from app.sample.kinds_many import LITTER, SOIL, SORTS, Sort
from app.sample.landscape import DRY
from app.sample.materials import draw_palette
from app.sample.outlines import Footprint, Ground
from app.sample.painting import VariedChange
from app.sample.planting import Kind, Planter, PlantingError
from app.sample.spectra import CROPS, FOREST, LandCover

#: Part of the slopes that is meadow and scrub, so that grazing and solar fields find ground.
OPEN_SHARE = 0.24
#: Places tried for one size before a smaller one is drawn, and how often that is done.
TRIES, SMALLER = 60, 3
#: Steepness from which a slope slides or is quarried, and up to which ponds are dug (rise over run).
STEEP, FLAT = 0.14, 0.12


class ManyPlanter(Planter):
    """Plants SORTS, each in all sizes; whatever finds no room is left out."""

    def plant(self) -> None:
        """Plant everything, the largest first.

        Raises:
            PlantingError: a kind has not found room once.
        """
        land = self.land
        self._ground = Ground.of(land)
        self._taken |= np.isin(land.cover, (int(LandCover.ROAD), int(LandCover.VILLAGE)))
        self._slope = np.hypot(self._ground.east, self._ground.north)
        with suppress(PlantingError):
            self._low_water()
        with suppress(PlantingError):
            self._field_decoys()
        jobs = [(sort, area) for sort in SORTS for area in self._areas(sort)]
        numbers: dict[str, int] = {}
        for sort, area in sorted(jobs, key=lambda job: -job[1]):
            change = self._draw(sort, area)
            if change is None:
                continue
            number = numbers[sort.kind.key] = numbers.get(sort.kind.key, 0) + 1
            self._add(replace(change, key=f"{sort.kind.key}-{number:02d}"))
        absent = [sort.kind.key for sort in SORTS if sort.kind.activity and sort.kind.key not in numbers]
        if absent:
            raise PlantingError(absent[0])
        self._allow_one()

    def _areas(self, sort: Sort) -> list[float]:
        """Log-uniform sizes, one from each equal part of the range, so that every size class occurs."""
        count = max(1, round(sort.count * (self.grid.size / 600) ** 2))
        low, high = (math.log(x) for x in sort.area)
        parts = (np.arange(count) + self.rng.random(count)) / count
        return [float(x) for x in np.exp(low + (high - low) * parts)]

    def _allow_one(self) -> None:
        """One of the roads has a permit: a real change of the surface that is no offence."""
        index = next(i for i, c in enumerate(self.changes) if c.activity == "road")
        road = replace(self.changes[index], key="permitted-road", decoy="permitted")
        self.changes[index] = road
        self._permit(road)

    def _draw(self, sort: Sort, area: float) -> VariedChange | None:
        """A change of about the area at a place drawn at random, or a smaller one; None where nothing fits."""
        begins = self._begins(sort.kind)
        if begins is None:
            return None
        allowed = np.isin(self.land.cover, [int(c) for c in sort.cover]) & ~self._taken & self._near(sort)
        deep = ndimage.distance_transform_edt(allowed)
        for smaller in range(SMALLER):
            size = max(area * 0.5**smaller, sort.area[0])
            # The middle of a compact patch cannot lie nearer to other ground than about half its radius.
            least = 1.0 if sort.kind.mode == "along" or sort.near else min(0.5 * math.sqrt(size / math.pi) / 10, 9)
            room = np.argwhere(deep >= least)
            for _ in range(TRIES if len(room) else 0):
                row, col = room[int(self.rng.integers(len(room)))]
                jitter = self.rng.uniform(-0.5, 0.5, 2)
                at = self.grid.centre_of(float(row + jitter[0]), float(col + jitter[1]))
                footprint = sort.outline(self.rng, self._ground, at, size)
                if footprint is not None and self._has_room(footprint.geometry, sort):
                    return self._varied(sort, footprint, begins)
        return None

    def _near(self, sort: Sort) -> BoolArray:
        """Where the relief and the waters suit a kind."""
        land = self.land
        if sort.near in ("slope", "hollow"):
            steep = self._slope > (STEEP if sort.near == "slope" else 0.04)
            curved = ndimage.gaussian_laplace(land.height, 5.0) > 0
            return np.asarray(steep & curved if sort.near == "hollow" else steep)
        if sort.near in ("river", "water"):
            bed = land.depth_river > DRY if sort.near == "river" else land.cover == LandCover.WATER
            away = ndimage.distance_transform_edt(~bed)
            return np.asarray((away <= (6 if sort.near == "river" else 70)) & (self._slope < FLAT))
        return np.ones(land.cover.shape, dtype=np.bool_)

    def _has_room(self, geometry: BaseGeometry, sort: Sort) -> bool:
        if not geometry.is_valid or geometry.geom_type != "Polygon":
            return False
        if not self.grid.box.buffer(-100).contains(geometry):
            return False
        window = self.grid.window(geometry, pad=1)
        foot = self.grid.coverage(geometry, window) > 0.1
        if int(foot.sum()) < 8 or self._taken[window][foot].any():
            return False
        suits = np.isin(self.land.cover[window][foot], [int(c) for c in sort.cover])
        return bool(suits.mean() >= sort.pure)

    def _begins(self, kind: Kind) -> date | None:
        """The day on which a change begins, None where the span has no such season."""
        if kind.key == "grazing":
            return self._first_grazed()
        day = self.plan.draw(self.rng, *kind.when, kind.months)
        out_of_season = kind.months is not None and day.month not in kind.months
        return None if kind.activity is None and out_of_season else day

    def _first_grazed(self) -> date:
        """A May from the history's last year on, where the series holds one with a summer after it."""
        first = self.plan.history_until - timedelta(days=400)
        years = range(first.year, self.plan.end.year + 1)
        mays = [date(year, 5, 1) + timedelta(days=int(self.rng.integers(0, 40))) for year in years]
        good = [d for d in mays if first <= d <= self.plan.end - timedelta(days=60)]
        return good[int(self.rng.integers(len(good)))] if good else self.plan.draw(self.rng, 0.05, 0.5)

    def _varied(self, sort: Sort, footprint: Footprint, begins: date) -> VariedChange:
        """The change with its raster, materials and growth."""
        rng, grid, kind = self.rng, self.grid, sort.kind
        base = self._draft(kind, footprint.geometry)
        window, cover = base.window, base.cover
        common = LandCover[base.change_from.upper()]
        place = "forest" if common in FOREST else "field" if common in CROPS else "open"
        roles = {"litter": LITTER[place], "soil": SOIL, **sort.roles}
        base = replace(base, starts=begins)
        days = self.plan.length(float(rng.uniform(*kind.days)) * min(1.0, footprint.geometry.area / 20_000 + 0.3))
        grown = growing(rng, base, grid, int(days), kind.mode, kind.first)
        ends = grown.ends if sort.heals is None else begins + timedelta(days=int(rng.integers(*sort.heals)))
        order = self._order(grown, footprint)
        values = {name: getattr(grown, name) for name in Change.__dataclass_fields__}
        values.update(ends=ends, real=sort.heals is None)
        return VariedChange(
            **values,
            palette=draw_palette(rng, roles),
            layout=self._layout(grown, footprint, kind),
            order=order,
            grain=_unit(ndimage.gaussian_filter(rng.standard_normal(cover.shape), 0.5)),
            ground=self.land.texture[(slice(None), *window)].copy(),
            moisture=float(rng.uniform(-0.25, 0.25)),
            pace=float(rng.uniform(0.7, 1.5)),
            severity=float(rng.uniform(*sort.severity)),
        )

    def _layout(self, change: Change, footprint: Footprint, kind: Kind) -> FloatArray:
        if kind.key == "grazing":
            depth = ndimage.distance_transform_edt(change.cover > 0.5)
            return np.asarray(np.clip(depth / max(0.6 * float(depth.max()), 1), 0, 1), dtype=np.float32)
        if footprint.structures is None:
            return np.zeros_like(change.cover)
        share = self.grid.coverage(footprint.structures, change.window)
        return np.asarray(np.clip(share / np.maximum(change.cover, 1e-3), 0, 1), dtype=np.float32)

    def _order(self, change: Change, footprint: Footprint) -> FloatArray:
        """0 at the source to 1 farthest from it; without a source one random value for all."""
        if footprint.source is None:
            return np.full(change.cover.shape, self.rng.random(), np.float32)
        east, north = window_coordinates(self.grid, change.window)
        away = np.hypot(east + CENTRE[0] - footprint.source[0], north + CENTRE[1] - footprint.source[1])
        return np.asarray(np.clip(away / max(float(away[change.cover > 0].max()), 1), 0, 1), dtype=np.float32)


def _unit(noise: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> FloatArray:
    return np.asarray((noise - noise.mean()) / max(float(noise.std()), 1e-6), dtype=np.float32)
