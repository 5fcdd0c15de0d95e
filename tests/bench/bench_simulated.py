"""The monitor and the recognisers on simulated areas that nothing was tuned on, against known truth.

Scenes are rendered in memory and watched in tiles, as the service does. A pixel's change is dated by the day on
which people changed it. The burn is a real change of the surface that nobody made: its pixels are left out of the
pixel figures, and what is made of it stands among the decoys.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from datetime import time as clock
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.imagery.pixels import SCL_CLEAR
from app.monitoring.findings import NOT_AN_ACTIVITY
from app.sample.changes import Change
from app.sample.grid import ACQUISITION_UTC, CRS, PIXEL_M, IntArray
from app.sample.render import render
from app.sample.spectra import BANDS, CROPS
from app.sample.truth import truth_arrays
from app.sample.world import World, build_world
from detectors.measuring import measure
from detectors.patches import assemble
from detectors.protocol import Monitor
from detectors.recognise import recognise
from detectors.registry import make_monitor
from detectors.sources import GroundRaster
from detectors.state import pack_dynamic, pack_fixed
from detectors.types import CLEAR, HIDDEN, BlockHistory, ChangedPixels, Grid, RasterBlock, from_day, to_day
from tests.bench.peer import HalfMonthRule
from tests.bench.scoring import DatedScore, dated
from tests.bench.tables import ratio, show

MONITOR = "harmonic"
SIZE_PX = 600
TILE_PX = 600
LEAST_M2 = 1000.0
DIVISIONS = Path(__file__).parents[2] / "sample" / "jilin" / "divisions.geojson"
DAYS_A_YEAR = 365
SEASONS = {
    "April to June": (4, 5, 6),
    "July to September": (7, 8, 9),
    "October to March": (10, 11, 12, 1, 2, 3),
    "all": range(1, 13),
}


@dataclass(frozen=True)
class Archive:
    """All scenes of a world: uint16 (scene, band, y, x) at 10 m, swir16 at 20 m, and the clear mask at 20 m."""

    moments: tuple[datetime, ...]
    fine: NDArray[np.uint16]
    swir16: NDArray[np.uint16]
    clear: NDArray[np.bool_]
    grid: Grid

    def blocks(self, row: int, col: int) -> Iterator[RasterBlock]:
        """The scenes of one tile, oldest first; a coarser pixel is repeated, as the service's reader does."""
        coarse = (slice(row // 2, (row + TILE_PX) // 2), slice(col // 2, (col + TILE_PX) // 2))
        window = (slice(row, row + TILE_PX), slice(col, col + TILE_PX))
        grid = self.grid.window(row, col, (TILE_PX, TILE_PX))
        for i, moment in enumerate(self.moments):
            data = np.empty((len(BANDS), TILE_PX, TILE_PX), np.int16)
            data[:-1] = self.fine[i][:, *window]
            data[-1] = self.swir16[i][coarse].repeat(2, 0).repeat(2, 1)
            clear = self.clear[i][coarse].repeat(2, 0).repeat(2, 1)
            yield RasterBlock(data, np.where(clear, CLEAR, HIDDEN).astype(np.uint8), grid, BANDS, moment)


@dataclass(frozen=True)
class Site:
    """A reported place. `activity`: None where nothing names one."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    first_seen: int
    confirmed: int
    sure: bool
    activity: str | None


@dataclass(frozen=True)
class Result:
    """What one detector made of one world: alert of each pixel, sites, scenes watched, seconds, state bytes a pixel."""

    alert: IntArray
    sites: list[Site]
    looks: int
    fit_s: float
    update_s: float
    state: float = float("nan")


@dataclass(frozen=True)
class Truth:
    """Day and number of the change at each pixel, land cover before, and the days that were monitored.

    `limit`: day of the third clear look at the changed pixel, before which no rule of three looks can confirm.
    """

    day: IntArray
    number: IntArray
    cover: IntArray
    limit: IntArray
    days: int
    changes: tuple[Change, ...]

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Pixels outside the burn."""
        burns = [n for n, c in enumerate(self.changes, start=1) if c.decoy == "fire"]
        return ~np.isin(self.number, burns)

    def touched(self, site: Site, kinds: Sequence[int]) -> bool:
        return bool(np.isin(self.number[site.rows, site.cols], kinds).any())


def render_archive(world: World) -> Archive:
    """Render every scene of a world; some 0.7 GB for 200 scenes of 600 x 600 pixels."""
    n, count = SIZE_PX, len(world.scenes)
    fine = np.empty((count, len(BANDS) - 1, n, n), np.uint16)
    swir16 = np.empty((count, n // 2, n // 2), np.uint16)
    clear = np.empty((count, n // 2, n // 2), np.bool_)
    for i, acquisition in enumerate(world.scenes):
        scene = render(world, acquisition)
        for b, name in enumerate(BANDS[:-1]):
            fine[i, b] = scene.bands[name]
        swir16[i], clear[i] = scene.bands["swir16"], np.isin(scene.scl, SCL_CLEAR)
    moments = tuple(datetime.combine(a.day, clock(*ACQUISITION_UTC), UTC) for a in world.scenes)
    t = world.landscape.grid.transform()
    return Archive(moments, fine, swir16, clear, Grid(CRS, (t.a, t.b, t.c, t.d, t.e, t.f), (n, n)))


def watch(archive: Archive, history_until: int) -> tuple[Result, Result]:
    """The monitor, and the rule beside it on the very same blocks."""
    monitor = make_monitor(MONITOR)
    tables: list[ChangedPixels] = []
    ours, theirs = (np.zeros(archive.grid.shape, np.int32) for _ in range(2))
    seconds = np.zeros((2, 2))
    sizes: list[int] = []
    ground = np.zeros(archive.grid.shape, np.uint8)
    for row in range(0, SIZE_PX, TILE_PX):
        for col in range(0, SIZE_PX, TILE_PX):
            table, rule, size, kinds = _watch_tile(monitor, archive, row, col, history_until, seconds)
            sizes.append(size)
            tables.append(table)
            ground[row : row + TILE_PX, col : col + TILE_PX] = kinds
            sure = table.confirmed > 0
            ours[table.row[sure], table.col[sure]] = table.confirmed[sure]
            theirs[row : row + TILE_PX, col : col + TILE_PX] = rule.alert
    pixels = ChangedPixels.concatenate(tables)
    patches = assemble(pixels, archive.grid, min_area_m2=LEAST_M2)
    evidence = measure(patches, pixels, archive.grid, GroundRaster(ground))
    sites = [
        Site(p.rows, p.cols, p.first_seen, p.confirmed, p.confidence == "high", recognise(p, e).activity)
        for p, e in zip(patches, evidence, strict=True)
    ]
    looks = sum(to_day(moment) > history_until for moment in archive.moments)
    return (
        Result(ours, sites, looks, float(seconds[0, 0]), float(seconds[0, 1]), sum(sizes) / ours.size),
        Result(theirs, _rule_sites(theirs, archive.grid), looks, *seconds[1].tolist()),
    )


def _watch_tile(
    monitor: Monitor, archive: Archive, row: int, col: int, history_until: int, seconds: NDArray[np.float64]
) -> tuple[ChangedPixels, HalfMonthRule, int, NDArray[np.uint8]]:
    history: list[RasterBlock] = []
    began = False
    for block in archive.blocks(row, col):
        if block.day <= history_until:
            history.append(block)
            continue
        at = [time.perf_counter()]
        if not began:
            state = monitor.fit(BlockHistory(history))
            at.append(time.perf_counter())
            rule = HalfMonthRule(history)
            at.append(time.perf_counter())
            seconds[:, 0] += np.diff(at)
            history, began, at = [], True, at[-1:]
        state, _ = monitor.update(state, block)
        at.append(time.perf_counter())
        rule.update(block)
        at.append(time.perf_counter())
        seconds[:, 1] += np.diff(at)
    size = len(pack_fixed(state)) + len(pack_dynamic(state))
    return monitor.changed(state, row, col), rule, size, monitor.ground(state)


def _rule_sites(alert: IntArray, grid: Grid) -> list[Site]:
    """Connected alerts of the least area, by the monitor's own rule of joining and dating."""
    least = round(LEAST_M2 / grid.pixel_area)
    labels, _ = ndimage.label(alert > 0, np.ones((3, 3)))
    sites = []
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        rows, cols = np.nonzero(labels[window] == label)
        if len(rows) >= least:
            rows, cols = rows + window[0].start, cols + window[1].start
            day = int(np.sort(alert[rows, cols])[least - 1])
            sites.append(Site(rows, cols, day, day, True, None))
    return sites


def third_look(archive: Archive, changed: IntArray) -> IntArray:
    """Day of the third clear look from the day of change on; 0 where nothing changed or it did not come."""
    place = np.nonzero(changed)
    since, looks, third = changed[place], np.zeros(len(place[0]), np.int32), np.zeros(len(place[0]), np.int32)
    for moment, clear in zip(archive.moments, archive.clear, strict=True):
        looks += clear[place[0] // 2, place[1] // 2] & (to_day(moment) >= since)
        third[(looks == 3) & (third == 0)] = to_day(moment)
    result = np.zeros_like(changed)
    result[place] = third
    return result


def score(results: Sequence[Result], truths: Sequence[Truth], *, with_burn: bool = False) -> DatedScore:
    """Pixels of all worlds together; group 1 is cropland."""
    parts = []
    for result, truth in zip(results, truths, strict=True):
        keep = np.ones_like(truth.scored) if with_burn else truth.scored
        crop = np.isin(truth.cover, [int(c) for c in CROPS]).astype(np.int32)
        parts.append([array[keep] for array in (result.alert, truth.day, crop)])
    alert, day, crop = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return dated(alert, day, truths[0].days, crop)


def found_site(result: Result, truth: Truth, number: int) -> Site | None:
    """The confirmed site with most ground in common with a change, confirmed after it began."""
    starts = to_day(truth.changes[number - 1].starts)
    common = [
        (int((truth.number[s.rows, s.cols] == number).sum()), -i)
        for i, s in enumerate(result.sites)
        if s.sure and s.confirmed >= starts
    ]
    most, index = max(common, default=(0, 0))
    return result.sites[-index] if most else None


def false_sites(result: Result, truth: Truth) -> list[Site]:
    """Sites that touch no planted change, burn or permitted road, or were confirmed before it began."""
    real = [(n, to_day(c.starts)) for n, c in enumerate(truth.changes, start=1) if c.real]

    def excused(site: Site) -> bool:
        return truth.touched(site, [n for n, starts in real if not site.sure or starts <= site.confirmed])

    return [site for site in result.sites if not excused(site)]


def show_pixels(results: Sequence[tuple[Result, Result]], truths: Sequence[Truth]) -> None:
    """The pixel figures of the monitor and the rule, and their ratio."""
    ours, theirs = (score([pair[k] for pair in results], truths) for k in (0, 1))
    burnt = score([pair[0] for pair in results], truths, with_burn=True)
    header = ["", "precision", "recall", "F1", "false alarms", "on crops", "latency", "p90"]
    rows, values = [], []
    for name, s in ((MONITOR, ours), (HalfMonthRule.name, theirs), (f"{MONITOR}, burn counted as false", burnt)):
        rates = (s.false_rate, s.false_rate_by_group.get(1, 0.0))
        values.append((s.precision, s.recall, s.f1, *rates, s.latency_median, s.latency_p90))
        shares = [f"{v:.3f}" for v in values[-1][:3]]
        rows.append([name, *shares, *(f"{v:.4f}" for v in rates), *(f"{v:.0f}" for v in values[-1][5:])])
    rows.insert(2, ["ratio", *(ratio(a, b) for a, b in zip(values[0], values[1], strict=True))])
    print("Pixels: false alarms per stable pixel and year; latency in days from change to confirmation, median and p90")
    show(header, rows)
    wrong, near = 0, 0
    for (result, _), truth in zip(results, truths, strict=True):
        false = truth.scored & (result.alert > 0) & (truth.day == 0)
        wrong += int(false.sum())
        near += int((false & ndimage.binary_dilation(truth.day > 0, np.ones((3, 3), np.bool_))).sum())
    print(f"Of {wrong} false pixels of the monitor, {near} touch a pixel that did change\n")


def show_seasons(results: Sequence[tuple[Result, Result]], truths: Sequence[Truth]) -> None:
    """How the wait for confirmation depends on the season of the change, and the least that it can be."""
    rows = []
    for name, months in SEASONS.items():
        waits: tuple[list[int], list[int], list[int]] = ([], [], [])
        pixels = 0
        for pair, truth in zip(results, truths, strict=True):
            changed = truth.day > 0
            month = np.array(truth.day[changed], "datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1
            inside = np.isin(month, months)
            pixels += int(inside.sum())
            for wait, alert in zip(waits, (pair[0].alert, pair[1].alert, truth.limit), strict=True):
                days = (alert - truth.day)[changed][inside]
                wait.extend(days[days >= 0].tolist())
        row = [name, str(pixels)]
        for wait in waits:
            row += [f"{len(wait) / pixels:.2f}", f"{np.median(wait):.0f}"] if wait else ["-", "-"]
        rows.append(row)
    print("By season of change: share of pixels found, median days to confirmation; limit: the third clear look")
    show(["", "pixels", MONITOR, "days", HalfMonthRule.name, "days", "limit", "days"], rows)


def show_changes(result: Result, rule: Result, truth: Truth) -> None:
    """One line for every planted change and decoy."""
    rows = []
    for number, change in enumerate(truth.changes, start=1):
        site, other = found_site(result, truth, number), found_site(rule, truth, number)
        inside = truth.number == number
        label = change.key if change.planted else f"{change.key} (decoy)"
        days = [str(from_day(site.first_seen)), str(from_day(site.confirmed))] if site else ["-", "-"]
        wait = str(site.confirmed - to_day(change.starts)) if site else "-"
        theirs = str(other.confirmed - to_day(change.starts)) if other else "-"
        share = f"{(result.alert[inside] > 0).mean():.2f}"
        named = (site.activity or "-") if site else "-"
        rows.append([label, str(inside.sum()), str(change.starts), *days, wait, theirs, share, named])
    header = ["", "pixels", "starts", "first seen", "confirmed", "days", "days, rule", "pixels confirmed", "named"]
    show(header, rows)


def show_rates(results: Sequence[tuple[Result, Result]]) -> None:
    """Speed of both, one core."""
    rows, rates = [], []
    for k, name in enumerate((MONITOR, HalfMonthRule.name)):
        fit, update = (sum(getattr(pair[k], part) for pair in results) for part in ("fit_s", "update_s"))
        looks = sum(pair[k].looks for pair in results)
        rates.append((SIZE_PX**2 * len(results) / fit, SIZE_PX**2 * looks / update))
        rows.append([name, *(f"{rate:,.0f}" for rate in rates[-1])])
    rows.append(["ratio", *(ratio(a, b) for a, b in zip(*rates, strict=True))])
    print("Pixels a second, one process")
    show(["", "fit", "update"], rows)


def show_sites(results: Sequence[tuple[Result, Result]], truths: Sequence[Truth]) -> None:
    """Changes found and named, decoys reported, false sites."""
    planted = found = found_by_rule = named = 0
    decoys: list[str] = []
    early: list[int] = []
    false = {"confirmed": 0, "rule": 0, "standing": 0, "aside": 0}
    for (ours, theirs), truth in zip(results, truths, strict=True):
        for number, change in enumerate(truth.changes, start=1):
            site = found_site(ours, truth, number)
            if site and change.real:
                early.append(site.first_seen - to_day(change.starts))
            if change.planted:
                planted += 1
                found += site is not None
                found_by_rule += found_site(theirs, truth, number) is not None
                named += site is not None and site.activity == change.activity
            elif change.activity is None:
                touching = [s for s in ours.sites if s.sure and truth.touched(s, [number])]
                decoys += [change.key for s in touching if s.activity not in NOT_AN_ACTIVITY][:1]
        wrong = false_sites(ours, truth)
        false["confirmed"] += sum(s.sure for s in wrong)
        false["aside"] += sum(s.sure and s.activity in NOT_AN_ACTIVITY for s in wrong)
        false["standing"] += sum(not s.sure for s in wrong)
        false["rule"] += len(false_sites(theirs, truth))
    before = sum(days < 0 for days in early)
    print(f"First seen, days after the true start: median {np.median(early) if early else float('nan'):.0f}, ", end="")
    print(f"{min(early, default=0)} to {max(early, default=0)}; before it: {before} of {len(early)}")
    area = (SIZE_PX * PIXEL_M / 1e3) ** 2 * len(truths) / 100
    years = truths[0].days / DAYS_A_YEAR
    natural = sum(c.activity is None for t in truths for c in t.changes)
    print(
        f"Planted changes found: {found} of {planted} (rule {found_by_rule}); named rightly: {named} of {found} found"
    )
    print(f"Decoys reported as a human activity: {len(decoys)} of {natural} ({', '.join(decoys) or 'none'})")
    rows = [
        ["confirmed", str(false["confirmed"]), f"{false['confirmed'] / area / years:.1f}"],
        ["of them put down to a natural cause", str(false["aside"]), f"{false['aside'] / area / years:.1f}"],
        ["confirmed, rule", str(false["rule"]), f"{false['rule'] / area / years:.1f}"],
        ["ratio, confirmed", "", ratio(false["confirmed"], false["rule"])],
    ]
    print()
    show(["false sites", "count", "per 100 km² and year"], rows)
    standing = false["standing"]
    print(f"Low confidence, standing at the end: {standing} false sites, {standing / area:.1f} per 100 km²\n")


def run(seeds: Sequence[int]) -> None:
    """Print the tables for each seed, then for all together."""
    results: list[tuple[Result, Result]] = []
    truths: list[Truth] = []
    for seed in seeds:
        began = time.perf_counter()
        world = build_world(seed, DIVISIONS, SIZE_PX)
        archive = render_archive(world)
        history_until = to_day(world.history_until)
        looks = f"{len(world.scenes)} scenes rendered in {time.perf_counter() - began:.0f} s"
        print(f"Seed {seed}: {looks}; monitored from {world.history_until} to {world.until}\n", flush=True)
        result = watch(archive, history_until)
        day, number, cover = truth_arrays(world)
        limit = third_look(archive, day)
        del archive  # Room for the next one.
        truth = Truth(day, number, cover, limit, to_day(world.until) - history_until, world.changes)
        show_changes(*result, truth)
        show_pixels([result], [truth])
        show_sites([result], [truth])
        results.append(result)
        truths.append(truth)
    if len(seeds) > 1:
        print(f"Seeds {', '.join(map(str, seeds))} together\n")
        show_pixels(results, truths)
        show_sites(results, truths)
    show_seasons(results, truths)
    show_rates(results)
