"""Run the benchmarks.

``python -m tests.bench [NAME ...] [--data DIR] [--data-vegetation DIR] [--data-pairs DIR] [--seeds 11,12]``

Nothing here passes or fails by its speed. Figures with their command, date and machine: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from detectors.registry import make_monitor
from tests.bench import (
    bench_casework,
    bench_chips,
    bench_evidence,
    bench_figures,
    bench_forest_cut,
    bench_import,
    bench_ledger,
    bench_maps,
    bench_overlay,
    bench_pair_cost,
    bench_pair_roads,
    bench_pairs,
    bench_peers,
    bench_recognition,
    bench_recognition_quality,
    bench_scale,
    bench_scene,
    bench_sheet,
    bench_simulated,
    bench_speed,
    bench_vegetation,
)
from tests.bench.bench_simulated import MONITOR

OWN_SERIES = Path(__file__).parents[2] / "sample" / "s2-romania"


def seeds(text: str) -> list[int]:
    """ "11,12" as numbers."""
    return [int(part) for part in text.split(",")]


def forest_cut(given: Path | None, picture: Path | None) -> None:
    folder = given or OWN_SERIES
    if not (folder / "catalog.json").is_file():
        print(f"Not run: there is no catalog.json in {folder}\n")
        return
    print(f"Series: {'given by --data' if given else 'sample/s2-romania (2016 to 2019)'}; ", end="")
    bench_forest_cut.run(folder.resolve(), picture)


def vegetation(folder: Path | None) -> None:
    if folder is None or not (folder / "observations.csv").is_file():
        print("Not run: --data-vegetation names no folder with observations.csv and reference.csv\n")
        return
    bench_vegetation.run(folder)


def recognition(options: argparse.Namespace) -> None:
    bench_recognition.run()
    bench_recognition_quality.run(options.seeds, options.worlds)


BENCHMARKS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "forest-cut": lambda options: forest_cut(options.data, options.picture),
    "simulated": lambda options: bench_simulated.run(options.seeds),
    "recognition": recognition,
    "peers": lambda options: bench_peers.run(options.seeds),
    "vegetation-series": lambda options: vegetation(options.data_vegetation),
    "pairs": lambda options: bench_pairs.run(options.data_pairs),
    "pair-roads": lambda options: bench_pair_roads.run(options.data_pairs),
    "pair-cost": lambda options: bench_pair_cost.run(),
    "speed": lambda options: bench_speed.run(),
    "scene": lambda options: bench_scene.run(options.size),
    "scale": lambda options: bench_scale.run(),
    "maps": lambda options: bench_maps.main(),
    "import": lambda options: bench_import.run(),
    "overlay": lambda options: bench_overlay.run(),
    "ledger": lambda options: bench_ledger.run(options.events),
    "casework": lambda options: bench_casework.main(),
    "figures": lambda options: bench_figures.main(options.cases),
    "evidence": lambda options: bench_evidence.run(options.photos),
    "chips": lambda options: bench_chips.run(),
    "sheet": lambda options: bench_sheet.main(),
}
NAMES = tuple(BENCHMARKS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, also when data outside the repository are absent."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Benchmarks of Redline.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(NAMES)}; all when left out")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of the full s2-romania series; default: the repository's cut"
    )
    parser.add_argument(
        "--data-vegetation", type=Path, metavar="DIR", help="folder of vegetation-series; default: none"
    )
    parser.add_argument(
        "--data-pairs",
        type=Path,
        metavar="DIR",
        help="folder of landsat-taizhou and s2-romania; default: made pairs only",
    )
    parser.add_argument("--picture", type=Path, metavar="PNG", help="where forest-cut draws what it disagrees on")
    parser.add_argument("--size", type=int, default=bench_scene.SIZE, help="pixels a side of the scene of `scene`")
    parser.add_argument("--seeds", type=seeds, default=[11, 12], help="of simulated areas, default 11,12")
    parser.add_argument(
        "--worlds", type=Path, metavar="DIR", help="where `recognition` keeps its worlds; default: they are made anew"
    )
    parser.add_argument(
        "--events", type=int, default=bench_ledger.EVENTS, help="of cases in `ledger`, 20 a case; default 400,000"
    )
    parser.add_argument(
        "--cases", type=int, default=bench_figures.CASES, help="of `figures`, 20 events each; default 200,000"
    )
    parser.add_argument(
        "--photos", type=int, default=bench_evidence.PHOTOS, help="of 4 MB in `evidence`; default 1,000"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    print(f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}")
    monitor = make_monitor(MONITOR)
    print(f"monitor {monitor.name} {monitor.version}, parameters {monitor.parameter_hash()}\n")
    for name in options.names or NAMES:
        print(f"=== {name} ===")
        began = time.perf_counter()
        BENCHMARKS[name](options)
        print(f"{name} took {time.perf_counter() - began:.0f} s\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
