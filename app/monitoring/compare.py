"""Two images in, a map of change and its polygons out: `redline detectors compare`, without the service.

Needs no database. Blocks come from `detectors.monitors.bitemporal`; the three files appear whole, or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import rasterio
from rasterio.windows import Window

from app.foundation.errors import Invalid
from app.monitoring.offline_files import out_folder, publish
from app.monitoring.pair_changes import write_pair_changes
from app.monitoring.pair_checks import check_days, check_numbers, check_paths
from app.monitoring.pair_files import GDAL, Image, opened
from app.monitoring.pair_grid import FilePair, common_grid
from app.monitoring.pair_lines import Cells, Roads
from app.monitoring.pair_patches import ChangedPatch, Gatherer
from app.monitoring.pair_rasters import Rasters, spoken, strips
from detectors.monitors.bitemporal import MOST_CELL, Bitemporal, BitemporalParameters
from detectors.pairs import Pair, PairRefused
from detectors.types import Codes, Floats

CHANGE: Final = "change.tif"
STRENGTH: Final = "strength.tif"
CHANGES: Final = "changes.gpkg"
FILES: Final = (CHANGE, STRENGTH, CHANGES)
# Smallest patch reported, pixels (DESIGN section 8).
LEAST_PX: Final = 10
NO_DATA, UNCHANGED, CHANGED = 0, 1, 2
# Rows of the map that are made into patches at once.
_STRIP: Final = 512
# Share of the ground, and mean run of changed pixels along rows, that tell a map of noise. Where every pixel falls by
# itself, runs are 1 / (1 - share) long: 3 at two thirds.
_MUCH: Final = 0.1
_SPECK: Final = 3.0
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Comparison:
    """What to compare.

    Attributes:
        before, after: image files. out: folder for the three files.
        scale_before, scale_after: factors of the files' numbers; None: the files' own.
        least_px: pixels of the smallest change reported.
        cell_px: pixels a side of the cells that are compared, 1: each pixel; None: by the size of the pair.
    """

    before: Path
    after: Path
    out: Path
    scale_before: float | None = None
    scale_after: float | None = None
    least_px: int = LEAST_PX
    cell_px: int | None = None


class Learned(Protocol):
    """What a comparer learned of a pair; see ``detectors.monitors.bitemporal.Prepared``."""

    @property
    def method(self) -> str: ...
    @property
    def shift(self) -> tuple[float, float]: ...
    @property
    def threshold(self) -> float: ...
    @property
    def cell(self) -> int: ...
    @property
    def words(self) -> tuple[str, ...]: ...


class Comparer(Protocol):
    """What compares; see ``detectors.monitors.bitemporal.Bitemporal``."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    def parameter_hash(self) -> str: ...
    def prepare(self, pair: Pair) -> Any: ...
    def compare(self, pair: Pair, prepared: Any) -> Iterator[tuple[int, int, Floats, Codes]]: ...


@dataclass
class Counts:
    """Pixels of the common grid by what is said of them; runs: of changed pixels along rows."""

    whole: int = 0
    seen: int = 0
    changed: int = 0
    runs: int = 0

    @property
    def in_specks(self) -> bool:
        """Whether much ground changed in runs of hardly more than a pixel: noise, whose outlines say nothing."""
        return self.changed > _MUCH * self.seen and self.changed < _SPECK * self.runs

    def add(self, change: Codes) -> None:
        changed = change == CHANGED
        self.runs += int(np.count_nonzero(changed[:, 1:] & ~changed[:, :-1])) + int(np.count_nonzero(changed[:, 0]))
        self.whole += change.size
        self.seen += int(np.count_nonzero(change != NO_DATA))
        self.changed += int(np.count_nonzero(changed))


@dataclass(frozen=True)
class Compared:
    """What came of it. notes: how the images were brought together, in sentences. cell: pixels a side of what was
    compared."""

    out: Path
    counts: Counts
    changes: int
    method: str
    shift: tuple[float, float]
    notes: tuple[str, ...]
    cell: int = 1

    def in_words(self) -> str:
        """The closing sentences."""
        rows, columns = self.shift
        moved = math.hypot(rows, columns)
        shift = (
            "no shift was found between the images"
            if moved < 0.05
            else f"AFTER lay {abs(rows):.2f} pixels {'lower' if rows > 0 else 'higher'} and {abs(columns):.2f} "
            f"{'right' if columns > 0 else 'left'} of BEFORE, and was moved back"
        )
        counts = self.counts
        changed = f"{_percent(counts.changed / counts.seen)} of the compared ground changed" if counts.seen else ""
        unseen = counts.whole - counts.seen
        ground = (
            f"{_percent(unseen / counts.whole)} of the ground could not be compared: no data in one image or both"
            if unseen
            else "all of the ground could be compared"
        )
        changes = f"{self.changes:,} change{'' if self.changes == 1 else 's'}"
        cells = (
            f"compared in cells of {self.cell} x {self.cell} pixels, and what is smaller was not looked for (--cell-px "
            "names another size, 1 for each pixel)"
            if self.cell > 1
            else ""
        )
        said = "; ".join(part for part in (f"Compared by {self.method}", cells, shift, changed, ground) if part)
        return f"{said}. {changes}: {', '.join(str(self.out / name) for name in FILES)}"


def _percent(share: float) -> str:
    """A share, never rounded to all or, but for none, to nothing."""
    if share in (0.0, 1.0):
        return f"{100 * share:.0f} %"
    return "less than 0.1 %" if share < 0.001 else f"{min(100 * share, 99.9):.1f} %"


def compare(
    request: Comparison, progress: Progress = lambda done, total: None, monitor: Comparer | None = None
) -> Compared:
    """Compare two images and write `change.tif`, `strength.tif` and `changes.gpkg`.

    Args:
        progress: told the rows of the common grid that are done, of all.
        monitor: what compares; by default ``Bitemporal``.

    Raises:
        Invalid: an image cannot be read, or the two cannot be compared; or the folder cannot be written to.
        OSError: a file could not be put into its place.
    """
    if request.least_px < 1:
        raise Invalid("--min-area-px must be at least 1.")
    if request.cell_px is not None and not 1 <= request.cell_px <= MOST_CELL:
        raise Invalid(f"--cell-px must be 1 to {MOST_CELL}.")
    check_paths(request.before, request.after)
    inputs = {request.before.resolve(), request.after.resolve()}
    if taken := next((name for name in FILES if (request.out / name).resolve() in inputs), None):
        raise Invalid(f"--out holds the image {taken}, which would be overwritten; name another folder.")
    with (
        rasterio.Env(**GDAL),
        out_folder(request.out, FILES) as aside,
        opened(request.before, "BEFORE", request.scale_before) as before,
        opened(request.after, "AFTER", request.scale_after) as after,
    ):
        check_days(before, after)
        pair = FilePair(before, after, common_grid(before, after))
        check_numbers(pair)
        monitor = monitor or Bitemporal(BitemporalParameters(cell=request.cell_px or 0))
        prepared = _prepared(monitor, pair)
        counts, changes = _write(aside, request, pair, monitor, prepared, progress)
        publish(aside, request.out, FILES)
        notes = tuple(
            word
            for word in (
                pair.common.words,
                *_filled(before, after),
                *(f"{word[0].upper()}{word[1:]}." for word in prepared.words[1:]),
                *_specks(counts),
            )
            if word
        )
    return Compared(request.out, counts, changes, prepared.method, prepared.shift, notes, prepared.cell)


def _filled(*images: Image) -> Iterator[str]:
    for image in images:
        if image.fill:
            yield f"{image.label} declares no no-data value: pixels of 0 in every band are taken as no data."


def _specks(counts: Counts) -> Iterator[str]:
    if counts.in_specks:
        yield (
            f"{_percent(counts.changed / counts.seen)} of the ground changed in specks of "
            f"{counts.changed / counts.runs:.1f} pixels: the images do not fit together, or one is noise. No outlines "
            "were drawn; look at strength.tif, and compare images of one season, or filtered ones."
        )


def _prepared(monitor: Comparer, pair: FilePair) -> Learned:
    before, after = pair.images
    try:
        learned: Learned = monitor.prepare(pair)
        return learned
    except PairRefused as refusal:
        labels = {"before": before.label, "after": after.label, "both": f"{before.label} and {after.label}"}
        raise Invalid(f"{labels[refusal.which]} cannot be compared: {refusal}.".replace("..", ".")) from None


def _write(
    aside: Path, request: Comparison, pair: FilePair, monitor: Comparer, prepared: Learned, progress: Progress
) -> tuple[Counts, int]:
    detector = f"{monitor.name}/{monitor.version}/{monitor.parameter_hash()}"
    words = {
        "before": request.before.name,
        "after": request.after.name,
        "method": prepared.method,
        "grid": pair.common.words or "Both images lie on this grid.",
    }
    tags = {f"REDLINE_{name.upper()}": text for name, text in {**words, "detector": detector}.items()}
    rows, columns = pair.grid.shape
    counts, cells = Counts(), Cells(pair.grid.shape, prepared.cell)
    progress(0, rows)
    with Rasters(aside / CHANGE, aside / STRENGTH, pair.common, tags) as rasters:
        for row0, strength, change in strips(monitor.compare(pair, prepared), columns):
            rasters.write(row0, strength, change)
            counts.add(change)
            cells.add(row0, strength)
            progress(row0 + change.shape[0], rows)
    with spoken():
        rasters.check()
    if counts.in_specks:
        patches: Iterator[ChangedPatch] = iter(())
    else:
        patches = _patches(aside / CHANGE, cells, Roads.of(cells, prepared.threshold), request.least_px)
    return counts, write_pair_changes(aside / CHANGES, patches, pair, detector, words)


def _patches(change: Path, cells: Cells, roads: Roads, least: int) -> Iterator[ChangedPatch]:
    """Roads first, then what else has changed, read back from the map."""
    with rasterio.open(change) as file:
        rows, columns = file.shape
        yield from roads.patches((rows, columns), least)
        gatherer = Gatherer(columns, least)
        for row0 in range(0, rows, _STRIP):
            height = min(_STRIP, rows - row0)
            changed = file.read(1, window=Window(0, row0, columns, height)) == CHANGED
            changed &= ~cells.pixels(roads.near, row0, height, columns)
            yield from gatherer.add(row0, cells.strip(row0, height, columns), changed)
    yield from gatherer.end()
