"""Where the peers' constants come from: the best F1 over a small grid, on areas that no figure is reported on.

``python -m tests.bench.peers_tuning [1,2]`` repeats the search (an hour or so) and prints each peer's best; the
constants in ``bench_peers.PEERS`` are that. Every peer is tuned on a sample, also those that are then run everywhere.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from app.sample.world import build_world
from detectors.types import to_day
from tests.bench.bench_peers import Ground, Watched, days_of, sample, score, take
from tests.bench.bench_simulated import DIVISIONS, SIZE_PX, Archive, render_archive
from tests.bench.peers import Ccdc, Cusum, Ewma, Iqr, Mosum, Peer, run_peer
from tests.bench.peers_pyxccd import Cold, Sccd
from tests.bench.scoring import DatedScore
from tests.bench.tables import show

STABLE: Final = {False: 10000, True: 1000}
"""Stable pixels of either kind that tuning looks at, of peers that run everywhere and of sampled ones."""

HARMONICS: Final = (1, 2, 3)
STABLE_FITS: Final = ({"method": "ROC"}, {"method": "OLS"}, {"method": "RIRLS"})
CCDC_FITS: Final = (
    {"fit": {}, "trend": True},
    {"fit": {"method": "RIRLS", "screen_outliers": None}, "trend": False},
)
P_CG: Final = (0.99, 0.999, 0.9999, 0.99999)

GRIDS: Final[Mapping[type[Peer], Mapping[str, Sequence[Any]]]] = {
    Ewma: {
        "harmonic_order": HARMONICS,
        "lambda_": (0.1, 0.2, 0.3, 0.5),
        "sensitivity": (3, 4, 5, 6, 8, 10, 13, 16),
    },
    Cusum: {"harmonic_order": HARMONICS, "sensitivity": (0.05, 1e-2, 1e-3, 1e-5, 1e-7), "fit": STABLE_FITS},
    Mosum: {"harmonic_order": HARMONICS, "h": (0.25, 0.5, 1), "sensitivity": (0.05, 0.01, 0.001), "fit": STABLE_FITS},
    Iqr: {
        "harmonic_order": HARMONICS,
        "sensitivity": (1.5, 2, 3, 4, 5, 7, 9),
        "boundary": (2, 3, 4, 5, 6),
        "fit": ({"method": "OLS"}, {"method": "RIRLS"}),
    },
    Ccdc: {
        "harmonic_order": HARMONICS,
        "sensitivity": (3, 4, 5, 7, 9, 12, 16),
        "boundary": (2, 3, 4, 5, 6),
        "fit_and_trend": CCDC_FITS,
    },
    Cold: {"p_cg": P_CG, "conse": (3, 4, 5, 6, 8)},
    Sccd: {"p_cg": P_CG, "conse": (3, 4, 5, 6, 8)},
}


def combinations(kind: type[Peer]) -> Iterator[dict[str, Any]]:
    """Every point of a peer's grid, as its keyword arguments."""
    grid = GRIDS[kind]
    for point in itertools.product(*grid.values()):
        arguments = dict(zip(grid, point, strict=True))
        yield {**arguments.pop("fit_and_trend", {}), **arguments}


def tune(
    kind: type[Peer], areas: Sequence[tuple[Archive, Ground, int]], seed: int = 0
) -> list[tuple[dict[str, Any], DatedScore]]:
    """Score every point of a peer's grid, best F1 first.

    Args:
        areas: archive, truth and last day of the history of each.
        seed: of the sample of pixels.
    """
    ready = []
    for archive, ground, until in areas:
        pixels = sample(ground, seed, STABLE[kind.sampled])
        ready.append((until, pixels, days_of(archive), *take(archive, pixels.rows, pixels.cols)))
    results = []
    for arguments in combinations(kind):
        watched = []
        for until, pixels, days, data, valid in ready:
            peer = run_peer(kind(**arguments), days, until, data, valid)
            watched.append(Watched(pixels, peer.alert[0]))
        results.append((arguments, score(watched, [ground for _, ground, _ in areas])))
    return sorted(results, key=lambda result: -result[1].f1)


def main(seeds: Sequence[int] = (1, 2)) -> None:
    """Render the areas, search every grid and print the three best points of each peer."""
    areas = []
    for seed in seeds:
        world = build_world(seed, DIVISIONS, SIZE_PX)
        areas.append((render_archive(world), Ground.of(world), to_day(world.history_until)))
    for kind in GRIDS:
        rows = [
            [str(arguments), *(f"{value:.3f}" for value in (s.f1, s.precision, s.recall)), f"{s.latency_median:.0f}"]
            for arguments, s in tune(kind, areas)[:3]
        ]
        show([kind.name, "F1", "precision", "recall", "latency"], rows)


if __name__ == "__main__":
    main([int(part) for part in sys.argv[1].split(",")] if len(sys.argv) > 1 else (1, 2))
