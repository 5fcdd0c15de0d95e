"""How well patches are named, on planted worlds: the activity, how sure, and what is reported though nobody did it.

Each seed is made twice: by the plain recipe ("sample", what users see) and by the recipe "many", which plants all kinds
in all sizes. A planted change counts by its patch, the one that shares most ground with it; one without a patch was
not found, which the monitor's own benchmark measures, and is counted in the column "found" alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import shapely
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from detectors.calibration import DEFAULT, OTHER, Calibration
from detectors.evidence import PatchEvidence
from detectors.findings import Finding
from detectors.fitting import Decision
from detectors.recognise import recognise
from detectors.reliability import expected_calibration_error
from detectors.taxonomy import TAXONOMY, Kind
from detectors.types import Grid, Patch
from tests.bench import planted
from tests.bench.planted import Match, Planted
from tests.bench.tables import ratio, show

RECIPES: Final = ("sample", "many")
DAYS_A_YEAR: Final = 365

CAUSES: Final[Mapping[str, tuple[str, ...]]] = {
    "harvest": ("crop_calendar",),
    "ploughing": ("crop_calendar",),
    "mowing": ("crop_calendar",),
    "mulch": ("crop_calendar",),
    "fallow": ("crop_calendar",),
    "low_water": ("water_level", "drought"),
}
"""What is right for a decoy whose kind is no code of the taxonomy, the most fitting first."""


@dataclass(frozen=True)
class Case:
    """A planted change or decoy with a patch, and what was made of it.

    right: the codes that are right, the most fitting first; human: whether somebody did it.
    """

    seed: int
    match: Match
    finding: Finding
    right: tuple[str, ...]
    human: bool

    @property
    def hit(self) -> bool:
        return self.finding.activity in self.right

    def decision(self) -> Decision:
        """As calibrations are fitted on it."""
        scores = {a.code: a.score for a in self.finding.activities if a.code != OTHER}
        return Decision(scores, self.finding.evidence.timing.looks, self.right[0], f"seed {self.seed}")


@dataclass(frozen=True)
class Named:
    """A world and what the recognisers made of its patches.

    cases: features with a patch. false: findings of patches that touch no feature. reported: (decoys that have a
    confirmed patch named as a human activity, decoys).
    """

    planted: Planted
    matches: tuple[Match, ...]
    cases: tuple[Case, ...]
    false: tuple[Finding, ...]
    roads: tuple[float, float]


def is_human(code: str) -> bool:
    """Whether a code is reported as an activity: ``other`` is, for somebody must look at it."""
    return TAXONOMY[code].kind is Kind.human


def name(world: Planted, calibration: Calibration = DEFAULT) -> Named:
    """Measure and name the patches of a world."""
    patches = world.patches()
    evidence = world.measure(patches)
    matches, false = planted.match(world, patches)
    return name_measured(world, patches, evidence, matches, false, calibration)


def name_measured(
    world: Planted,
    patches: Sequence[Patch],
    evidence: Sequence[PatchEvidence],
    matches: Sequence[Match],
    false: Sequence[Patch],
    calibration: Calibration,
) -> Named:
    """Name measured patches; evidence is in step with them."""
    findings = {id(p): recognise(p, e, calibration=calibration) for p, e in zip(patches, evidence, strict=True)}
    cases = []
    for match in matches:
        if match.patch is None:
            continue
        feature = match.feature
        right = (feature.activity,) if feature.activity else CAUSES.get(feature.kind, (feature.kind,))
        cases.append(Case(world.seed, match, findings[id(match.patch)], right, feature.activity is not None))
    named = [f for f in findings.values() if f.activity == "road"]
    roads = _road_length(world.grid, matches, [f.patch for f in named])
    return Named(world, tuple(matches), tuple(cases), tuple(findings[id(p)] for p in false), roads)


def _road_length(grid: Grid, matches: Sequence[Match], patches: Sequence[Patch]) -> tuple[float, float]:
    """Length of the planted roads' axes within a pixel of patches that are named as roads, and their whole length.

    A road is as wide everywhere as its area over its length: thinned to a metre, area is length.
    """
    size = grid.pixel_size
    west, north = grid.transform[2], grid.transform[5]
    squares: list[BaseGeometry] = [
        box(west + col * size, north - (row + 1) * size, west + (col + 1) * size, north - row * size)
        for patch in patches
        for row, col in zip(patch.rows.tolist(), patch.cols.tolist(), strict=True)
    ]
    cover = shapely.union_all(squares).buffer(size)
    found = whole = 0.0
    for match in matches:
        if match.feature.activity != "road":
            continue
        ground = match.feature.geometry
        length, width = road_axis(ground)
        axis: BaseGeometry = ground.buffer(-(width - 1) / 2)
        axis = ground if axis.is_empty else axis
        whole += length
        found += length * axis.intersection(cover).area / axis.area
    return found, whole


def road_axis(ground: BaseGeometry) -> tuple[float, float]:
    """Length and width in metres of a strip that is as wide everywhere, by its area and circumference."""
    half = ground.length / 2
    width = (half - max(half**2 - 4 * ground.area, 0) ** 0.5) / 2
    return ground.area / width, width


def show_named(worlds: Sequence[Named]) -> None:
    """All tables of some worlds of one recipe."""
    human = [c for w in worlds for c in w.cases if c.human]
    natural = [c for w in worlds for c in w.cases if not c.human]
    decoys = [m for w in worlds for m in w.matches if m.feature.activity is None]
    _show_kinds(human, natural, [m for w in worlds for m in w.matches])
    _show_sizes(human)
    _show_confusion([*human, *natural])
    reported = [c for c in natural if is_human(c.finding.activity)]
    sure = [c for c in reported if c.finding.patch.confidence == "high"]
    false = [f for w in worlds for f in w.false if is_human(f.activity)]
    wrong = [f for f in false if f.patch.confidence == "high"]
    area = sum(w.planted.grid.pixel_area * np.prod(w.planted.grid.shape) for w in worlds) / 1e8
    years = area * (worlds[0].planted.until - worlds[0].planted.history_until) / DAYS_A_YEAR
    everything = [*human, *natural]
    found, length = (sum(w.roads[k] for w in worlds) for k in range(2))
    rows = [
        ["top-1 activity of planted changes with a patch", ratio(sum(c.hit for c in human), len(human)), "0.90"],
        ["macro F1 over planted kinds", f"{macro_f1(human, natural):.2f}", "0.85"],
        ["calibration error (ECE), planted and natural", f"{calibration_error(everything):.3f}", "0.05"],
        ["decoys and natural causes reported, confirmed", ratio(len(sure), len(decoys)), "0.05"],
        ["the same, low confidence too", ratio(len(reported), len(decoys)), ""],
        ["patch IoU, median", f"{np.median([c.match.iou for c in human]) if human else 0:.2f}", "0.75"],
        ["road length found", ratio(found, length), "0.85"],
        ["false sites per 100 km² and year, confirmed", f"{len(wrong) / years:.1f}", "2"],
        ["the same, low confidence too", f"{len(false) / years:.1f}", ""],
    ]
    show(["", "measured", "target"], rows)


def macro_f1(human: Sequence[Case], natural: Sequence[Case]) -> float:
    """Mean F1 over the planted kinds of human activity; a decoy named as one is a false positive of it."""
    kinds = sorted({c.right[0] for c in human})
    return float(np.mean([_scores(kind, human, natural)[2] for kind in kinds])) if kinds else 0.0


def _scores(kind: str, human: Sequence[Case], natural: Sequence[Case]) -> tuple[float, float, float]:
    """Recall, precision, F1."""
    own = [c for c in human if c.right[0] == kind]
    said = [c for c in (*human, *natural) if c.finding.activity == kind]
    hits = sum(c.hit for c in own)
    recall, precision = hits / max(len(own), 1), hits / max(len(said), 1)
    return recall, precision, 2 * hits / max(len(own) + len(said), 1)


def calibration_error(cases: Sequence[Case]) -> float:
    """Expected calibration error of the first activity's probability."""
    return expected_calibration_error([c.finding.activities[0].probability for c in cases], [c.hit for c in cases])


def _show_kinds(human: Sequence[Case], natural: Sequence[Case], matches: Sequence[Match]) -> None:
    rows = []
    for kind in sorted({c.right[0] for c in human}):
        recall, precision, f1 = _scores(kind, human, natural)
        own = [m for m in matches if m.feature.activity == kind]
        found = sum(m.patch is not None for m in own)
        middle = np.median([m.iou for m in own if m.patch is not None])
        rows.append([kind, f"{found}/{len(own)}", f"{recall:.2f}", f"{precision:.2f}", f"{f1:.2f}", f"{middle:.2f}"])
    show(["planted", "found", "recall", "precision", "F1", "IoU"], rows)
    print()
    rows = []
    for kind in sorted({m.feature.kind for m in matches if m.feature.activity is None}):
        cases = [c for c in natural if c.match.feature.kind == kind]
        reported = sum(is_human(c.finding.activity) for c in cases)
        count = sum(m.feature.kind == kind for m in matches)
        rows.append([kind, f"{len(cases)}/{count}", str(sum(c.hit for c in cases)), str(reported)])
    show(["decoy", "has a patch", "named rightly", "reported as human"], rows)
    print()


def _show_sizes(human: Sequence[Case]) -> None:
    rows = []
    for size in ("<1k", "1-2k", "2-5k", "5-20k", ">20k"):
        own = [c for c in human if c.match.feature.size_class == size]
        if own:
            iou = np.median([c.match.iou for c in own])
            rows.append([f"{size} m²", str(len(own)), ratio(sum(c.hit for c in own), len(own)), f"{iou:.2f}"])
    show(["", "changes", "top-1", "IoU"], rows)
    print()


def _show_confusion(cases: Sequence[Case]) -> None:
    rows = []
    for kind in sorted({c.match.feature.kind for c in cases}):
        said = Counter(c.finding.activity for c in cases if c.match.feature.kind == kind)
        rows.append([kind, ", ".join(f"{code} {count}" for code, count in said.most_common())])
    show(["is", "named as"], rows)
    print()


def run(seeds: Sequence[int], folder: Path | None = None) -> None:
    """Print the tables of both recipes over some seeds.

    Args:
        folder: of one's own, where worlds are kept between runs; None: they are made each time.
    """
    print(f"Calibration {DEFAULT.version}: {DEFAULT.basis}\n")
    for recipe in RECIPES:
        worlds = [name(planted.load(seed, folder, recipe) if folder else planted.make(seed, recipe)) for seed in seeds]
        print(f"Recipe {recipe}, seeds {', '.join(map(str, seeds))}\n")
        show_named(worlds)
        print(flush=True)
