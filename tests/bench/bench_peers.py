"""Seven public peers on the simulated areas: how right, how early, how fast, and how much state.

A pixel counts as in ``scoring.dated``; burns are left out, as everywhere in these benchmarks. The peers that take less
than a few thousand pixels a second run on a seeded sample: every pixel that changed, and ``STABLE_SAMPLE`` of the
stable ones each on cropland and elsewhere, weighted by how many each stands for. So recall and latency are those of the
whole area, and false alarms (without bias) and precision are estimates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.sample.changes import Change
from app.sample.spectra import CROPS
from app.sample.truth import truth_arrays
from app.sample.world import World, build_world
from detectors.types import BANDS, to_day
from tests.bench.bench_simulated import DIVISIONS, SIZE_PX, Archive, render_archive
from tests.bench.peers import (
    Bools,
    Ccdc,
    Cusum,
    Days,
    Ewma,
    Floats,
    Iqr,
    Mosum,
    Peer,
    missing,
    one_core,
    run_peer,
)
from tests.bench.peers_pyxccd import Cold, Sccd
from tests.bench.scoring import DAYS_A_YEAR, DatedScore, dated
from tests.bench.tables import show

STRIP_ROWS: Final = 60
STABLE_SAMPLE: Final = 1000
CROP: Final = 1
WARM: Final = 64

PEERS: Final[Mapping[str, Callable[[], Peer]]] = {
    Ewma.name: lambda: Ewma(),
    Cusum.name: lambda: Cusum(),
    Mosum.name: lambda: Mosum(),
    Iqr.name: lambda: Iqr(),
    Ccdc.name: lambda: Ccdc(),
    Cold.name: lambda: Cold(p_cg=0.99, conse=6),
    Sccd.name: lambda: Sccd(p_cg=0.99, conse=6),
}


@dataclass(frozen=True)
class Ground:
    """What is true of an area, ``(y, x)`` each: day of the change (0 none), whether it is crop, whether it is scored.

    `days`: length of the monitored period.
    """

    day: Days
    crop: Bools
    scored: Bools
    days: int

    @classmethod
    def of(cls, world: World) -> Ground:
        day, number, cover = truth_arrays(world)
        return cls.make(day, number, cover, world.changes, to_day(world.until) - to_day(world.history_until))

    @classmethod
    def make(cls, day: Days, number: Days, cover: Days, changes: Sequence[Change], days: int) -> Ground:
        burns = [n for n, change in enumerate(changes, start=1) if change.decoy == "fire"]
        return cls(day, np.isin(cover, [int(c) for c in CROPS]), ~np.isin(number, burns), days)


@dataclass(frozen=True)
class Pixels:
    """Places ``rows, cols (n,)`` and how many pixels each stands for, ``weight (n,)``."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    weight: NDArray[np.float64]


@dataclass(frozen=True)
class Watched:
    """What a peer made of pixels: alert ``int32 (n,)``; seconds; updates, of one pixel each; bytes of state a pixel."""

    pixels: Pixels
    alert: Days
    fit_s: float = math.nan
    update_s: float = math.nan
    updates: int = 0
    state: float = math.nan

    def map(self, shape: tuple[int, int]) -> Days:
        """Alerts ``int32 (y, x)``, 0 where the peer did not run."""
        result = np.zeros(shape, np.int32)
        result[self.pixels.rows, self.pixels.cols] = self.alert
        return result


def everywhere(ground: Ground) -> Pixels:
    """Every pixel, scored or not, row by row."""
    rows, cols = (part.ravel() for part in np.indices(ground.day.shape))
    return Pixels(rows, cols, np.ones(rows.size))


def sample(ground: Ground, seed: int, stable: int = STABLE_SAMPLE) -> Pixels:
    """All scored pixels that changed, and up to ``stable`` others each on cropland and elsewhere."""
    rng = np.random.default_rng(seed)
    changed = ground.day > 0
    places, weights = [np.argwhere(ground.scored & changed)], [np.ones(int((ground.scored & changed).sum()))]
    for here in (ground.crop, ~ground.crop):
        all_places = np.argwhere(ground.scored & ~changed & here)
        count = min(stable, len(all_places))
        places.append(rng.choice(all_places, count, replace=False))
        weights.append(np.full(count, len(all_places) / max(count, 1)))
    rows, cols = np.concatenate(places).T
    return Pixels(rows, cols, np.concatenate(weights))


def take(archive: Archive, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> tuple[Floats, Bools]:
    """Reflectance ``(t, band, 1, n)`` and clear ``(t, 1, n)`` at places; a coarser pixel is repeated."""
    data = np.empty((len(archive.moments), len(BANDS), 1, len(rows)), np.float32)
    data[:, :-1, 0] = archive.fine[:, :, rows, cols]
    data[:, -1, 0] = archive.swir16[:, rows // 2, cols // 2]
    data *= np.float32(1e-4)
    return data, archive.clear[:, rows // 2, cols // 2][:, None]


def days_of(archive: Archive) -> NDArray[np.int64]:
    """Day of each scene, ``(t,)``, days since 1970-01-01."""
    return np.array([to_day(moment) for moment in archive.moments], np.int64)


def watch(make: Callable[[], Peer], archive: Archive, history_until: int, pixels: Pixels) -> Watched:
    """Run a peer over the places, a few strips' worth at a time."""
    days = days_of(archive)
    step = STRIP_ROWS * archive.fine.shape[-1]
    alerts, fit_s, update_s, state, updates = [], 0.0, 0.0, 0.0, 0
    for start in range(0, len(pixels.rows), step):
        data, valid = take(archive, pixels.rows[start : start + step], pixels.cols[start : start + step])
        peer = run_peer(make(), days, history_until, data, valid)
        alerts.append(peer.alert[0])
        fit_s, update_s = fit_s + peer.fit_s, update_s + peer.update_s
        looks = valid[days > history_until]
        updates += int(looks.sum()) if peer.by_pixel else looks.size
        state += peer.state_bytes * valid.shape[-1]
    return Watched(pixels, np.concatenate(alerts), fit_s, update_s, updates, state / len(pixels.rows))


def score(watched: Sequence[Watched], grounds: Sequence[Ground]) -> DatedScore:
    """Scored pixels of all areas together, as ``dated``, each counted by its weight; group 1 is cropland.

    Pixels that changed must all be there, or be weighted alike: recall and latency do not look at weights.
    """
    parts = []
    for seen, ground in zip(watched, grounds, strict=True):
        at = (seen.pixels.rows, seen.pixels.cols)
        keep = ground.scored[at]
        columns = (seen.alert, ground.day[at], ground.crop[at].astype(np.int32), seen.pixels.weight)
        parts.append([column[keep] for column in columns])
    alert, day, crop, weight = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    plain = dated(alert, day, grounds[0].days, crop)
    found = (alert >= day) & (day > 0) & (alert > 0)
    precision = float(weight[found].sum() / max(weight[alert > 0].sum(), 1e-9))

    def rate(where: Bools) -> float:
        stable = where & (day == 0)
        share = weight[stable & (alert > 0)].sum() / max(weight[stable].sum(), 1e-9)
        return float(share * DAYS_A_YEAR / grounds[0].days)

    return replace(
        plain,
        precision=precision,
        f1=2 * precision * plain.recall / (precision + plain.recall) if found.any() else 0.0,
        false_rate=rate(np.ones(len(day), np.bool_)),
        false_rate_by_group={int(g): rate(crop == g) for g in np.unique(crop)},
    )


def watch_all(archive: Archive, ground: Ground, history_until: int, seed: int) -> dict[str, Watched]:
    """Every peer on one area: those that can, on all of it, the others on a sample drawn by ``seed``."""
    whole, some = everywhere(ground), sample(ground, seed)
    first = Pixels(some.rows[:WARM], some.cols[:WARM], some.weight[:WARM])
    result = {}
    with one_core():
        for name, make in PEERS.items():
            watch(make, archive, history_until, first)  # Compiles.
            result[name] = watch(make, archive, history_until, some if make().sampled else whole)
    return result


def rate_text(count: float, seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{count / seconds:,.0f}"


def show_table(results: Sequence[Mapping[str, Watched]], grounds: Sequence[Ground]) -> None:
    """A row for every peer, over all areas."""
    rows = []
    for name in results[0]:
        seen = [result[name] for result in results]
        s = score(seen, grounds)
        count, updates = sum(len(w.alert) for w in seen), sum(w.updates for w in seen)
        fit_s, update_s = sum(w.fit_s for w in seen), sum(w.update_s for w in seen)
        state = seen[0].state
        rows.append(
            [
                name,
                f"{count:,}",
                *(f"{share:.3f}" for share in (s.precision, s.recall, s.f1)),
                *(f"{share:.4f}" for share in (s.false_rate, s.false_rate_by_group.get(CROP, math.nan))),
                *(f"{days:.0f}" for days in (s.latency_median, s.latency_p90)),
                rate_text(count, fit_s),
                rate_text(updates, update_s),
                "-" if math.isnan(state) else f"{state:.0f}",
            ]
        )
    quality = ["pixels", "precision", "recall", "F1", "false alarms", "on crops", "latency", "p90"]
    show(["", *quality, "fit px/s", "update px/s", "state B/px"], rows)


def run(seeds: Sequence[int]) -> None:
    """Print the table over all seeds together."""
    if absent := missing():
        print(f"Not run: {', '.join(absent)} not installed (the extra `bench`; `make bench` installs it)\n")
        return
    results, grounds = [], []
    for seed in seeds:
        world = build_world(seed, DIVISIONS, SIZE_PX)
        archive, ground = render_archive(world), Ground.of(world)
        results.append(watch_all(archive, ground, to_day(world.history_until), seed))
        grounds.append(ground)
        del archive  # Room for the next one.
    print(f"Seeds {', '.join(map(str, seeds))} together, {grounds[0].days} days watched, one core.")
    print("False alarms per stable pixel and year; latency in days from change to alert, median and 90th percentile.")
    print(f"A peer with fewer pixels ran on a sample: all that changed, {STABLE_SAMPLE:,} stable ones each on cropland")
    print(
        "and elsewhere and of each area, weighted. Updates of pyxccd are of clear looks only, of nrt of whole scenes.\n"
    )
    show_table(results, grounds)
