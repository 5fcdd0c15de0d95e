"""Fit the default calibration on planted worlds, and say how well it holds on a seed that it has not seen.

``python -m tests.bench.fit_calibration --seeds 1,2,3,4,5,6 --folder DIR`` makes the worlds that DIR lacks (a minute or
two each), prints the fit of all seeds, to be copied into ``detectors.calibration.DEFAULT``, and the measures of the
fits that each left one seed out. One decision in twenty stands for what no recogniser knows: its own one is left out,
so that ``other`` is right.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from detectors.calibration import Calibration
from detectors.fitting import Decision, fit
from detectors.reliability import measure
from tests.bench import planted
from tests.bench.bench_recognition_quality import RECIPES, Case, name, show_named
from tests.bench.tables import show

UNKNOWN: Final = 0.05
PLAIN: Final = 6.0
"""Weight of a case of the plain recipe, which has a ninth as many: both kinds of ground count."""

START: Final = Calibration(version="1", sharpness=12.0, other_score=0.2)


def decisions(cases: Sequence[Case], recipe: str) -> list[Decision]:
    """Each case as it is, and with little weight as if nobody knew its kind."""
    weight = PLAIN if recipe == "sample" else 1.0
    known = [replace(case.decision(), weight=weight) for case in cases]
    without = [
        replace(one, scores={k: v for k, v in one.scores.items() if k != one.label}, weight=weight * UNKNOWN)
        for one in known
    ]
    return [*known, *without]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the fit and how it holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fit_calibration", description=__doc__)
    parser.add_argument("--seeds", default="1,2,3,4,5,6", help="e.g. 1,2,3")
    parser.add_argument("--folder", type=Path, required=True, help="where worlds are kept")
    parser.add_argument("--tables", action="store_true", help="print all tables of the held-out seeds, too")
    given = parser.parse_args(arguments)
    seeds = [int(seed) for seed in given.seeds.split(",")]
    worlds = {(r, s): planted.load(s, given.folder, r) for s in seeds for r in RECIPES}
    cases = {key: name(world, START).cases for key, world in worlds.items()}
    rows = []
    fits = {}
    for left_out in seeds:
        others = [d for (recipe, seed), own in cases.items() if seed != left_out for d in decisions(own, recipe)]
        fits[left_out] = fit(others, START, version="1")
        held = [c.decision() for (_, seed), own in cases.items() if seed == left_out for c in own]
        rows.append([str(left_out), *_cells(held, START), *_cells(held, fits[left_out])])
    header = ["accuracy", "macro F1", "log loss", "ECE"]
    show(["seed left out", *(f"start {h}" for h in header), *(f"fit {h}" for h in header)], rows)
    if given.tables:
        for recipe in RECIPES:
            print(f"Recipe {recipe}, each seed by the fit that has not seen it\n")
            show_named([name(worlds[recipe, seed], fits[seed]) for seed in seeds])
    best = fit([d for (recipe, _), own in cases.items() for d in decisions(own, recipe)], START, version="1")
    print(f"sharpness={best.sharpness:.1f}, other_score={best.other_score}, offsets={{")
    for code, offset in sorted(best.offsets.items()):
        print(f'    "{code}": {offset:.2f},')
    print("}")
    return 0


def _cells(held: Sequence[Decision], calibration: Calibration) -> list[str]:
    found = measure(held, [calibration.probabilities(one.scores, one.looks) for one in held])
    measures = (found.accuracy, found.macro_f1, found.log_loss, found.calibration_error)
    return [f"{value:.3f}" for value in measures]


if __name__ == "__main__":
    raise SystemExit(main())
