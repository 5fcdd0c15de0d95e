"""Cut single planted changes out of cached worlds, for tests: ``tests/data/planted.npz``.

``python -m tests.bench.cut_cases --folder DIR --seeds 1,2,3`` takes of each kind the changes that are found best, with
the changed pixels, ground and heights around them, and what was planted.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.types import Patch
from tests.bench import planted
from tests.bench.bench_recognition_quality import road_axis
from tests.bench.planted import Match, Planted

FILE: Final = Path(__file__).parents[1] / "data" / "planted.npz"
PER_KIND: Final = 2
PAD: Final = 32
"""Pixels around the patch: its ring is at most 30 wide at 10 m."""


def cut(world: Planted, match: Match, patch: Patch) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What was planted, and the arrays around a patch."""
    rows, columns = world.grid.shape
    top, left = max(patch.row0 - PAD, 0), max(patch.col0 - PAD, 0)
    bottom = min(patch.row0 + patch.mask.shape[0] + PAD, rows)
    right = min(patch.col0 + patch.mask.shape[1] + PAD, columns)
    window = (slice(top, bottom), slice(left, right))
    table = world.pixels
    inside = (table.row >= top) & (table.row < bottom) & (table.col >= left) & (table.col < right)
    arrays = table.take(inside).to_arrays()
    arrays["row"], arrays["col"] = arrays["row"] - np.int32(top), arrays["col"] - np.int32(left)
    for name in ("before", "after", "evidence"):
        arrays[name] = arrays[name].astype(np.float16)
    feature = match.feature
    full = np.zeros(world.grid.shape, np.bool_)
    full[feature.window] = feature.cover > 0.9
    later = world.later[:3][:, full].astype(np.float64) / 1e4
    axis, width = road_axis(feature.geometry)
    seen = later[:, later.min(axis=0) > 0] if later.size else later
    truth = {
        "key": f"{feature.key} of seed {world.seed}",
        "kind": feature.kind,
        "activity": feature.activity,
        "area_m2": feature.area_m2,
        "length_m": axis if feature.activity == "road" else None,
        "width_m": width if feature.activity == "road" else None,
        "starts": feature.starts,
        "until": world.until,
        "visible": float(np.median(seen.mean(axis=0))) if seen.size else None,
        "iou": match.iou,
        "at": [patch.row0 - top, patch.col0 - left],
    }
    arrays["ground"] = world.kinds[window]
    arrays["height"] = np.round(world.height[window], 1).astype(np.float32)
    return truth, arrays


def choose(worlds: Sequence[Planted]) -> list[tuple[Planted, Match, Patch]]:
    """Of each kind the changes that are found best."""
    found: Mapping[str, list[tuple[Planted, Match, Patch]]] = defaultdict(list)
    for world in worlds:
        for match in planted.match(world, world.patches())[0]:
            if match.patch is not None and 3_000 < match.feature.area_m2 < 12_000:
                found[match.feature.kind].append((world, match, match.patch))
    return [one for kind in sorted(found) for one in sorted(found[kind], key=lambda o: -o[1].iou)[:PER_KIND]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cut_cases", description=__doc__)
    parser.add_argument("--seeds", default="1,2,3", help="e.g. 1,2,3")
    parser.add_argument("--folder", type=Path, required=True, help="where worlds are kept")
    given = parser.parse_args(arguments)
    chosen = choose([planted.load(int(seed), given.folder) for seed in given.seeds.split(",")])
    arrays: dict[str, NDArray[Any]] = {}
    truths = []
    for number, (world, match, patch) in enumerate(chosen):
        truth, own = cut(world, match, patch)
        truths.append(truth)
        arrays |= {f"{number}/{name}": array for name, array in own.items()}
    arrays["truth"] = np.array(json.dumps(truths))
    np.savez_compressed(FILE, **arrays)  # type: ignore[arg-type]  # its keyword arguments are arrays
    print(f"{len(truths)} changes, {FILE.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
