"""Change between two images of one ground, of one sensor or of two.

Each image is predicted from the other where nothing changed, and what lies far from its prediction in both directions
is a change: the image regression of Luppino et al. (2019, IEEE TGRS 57), here a ridge regression and randomised trees
on what remains, on means and texture at several scales, with a spread that depends on the kind of ground. It needs no
labels, no common bands and no common units. Where trees explain little more than a line does, as between two winters of
one sensor, the iteratively reweighted MAD (Nielsen 2007) has most of the say. Docs: ``docs/detectors.md``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detectors.kernels import bitemporal_fields as fields
from detectors.kernels import bitemporal_model as models
from detectors.kernels.bitemporal_scale import Scale, scale_of, shift_between, speckled
from detectors.pairs import Cells, Pair, PairInCells, PairRefused, Which
from detectors.protocol import Parameters
from detectors.types import Bools, Codes, Floats

NO_DATA: Final = 0
UNCHANGED: Final = 1
CHANGED: Final = 2

WINDOW: Final = 256
"""Cells a side of the windows that a pair is learned from."""

LEARNED: Final = 1_500_000
LEARNED_LARGE: Final = 400_000
"""Cells at most that a pair is learned from, in windows spread evenly over it; of a pair that is compared in cells."""

TRAINED: Final = 20_000
"""Cells at most, out of those, that the trees are grown on."""

LEAST_TOLD: Final = 0.35
"""Share of the variance of either image that the other must explain: less is left where most of the ground changed,
where the images show other ground, and between radar and optical images."""

MOST_CHANGED: Final = 1 / 3
"""Share of changed ground above which it is said that the lesser part need not be what changed."""

LEAST_COMMON: Final = 100
"""Cells valid in both images below which nothing can be learned."""

MOST_CELL: Final = 64
"""Pixels a side of the largest cells that may be asked for."""

WORKERS: Final = 2

STRIP_PIXELS: Final = 1 << 23
"""Pixels of the strips of a pair that is compared in cells."""

T = TypeVar("T", bound=np.generic)


class BitemporalParameters(Parameters):
    """Parameters of ``Bitemporal``.

    Attributes:
        block (pixels): side of the blocks that are given, unless in cells; no result depends on it.
        most_cells (cells): a pair with more pixels is compared in cells of 2 x 2, 3 x 3… pixels, at most so many.
        cell (pixels): side of the cells, whatever the size of the pair; 0: by ``most_cells``.
        reach_down (share of threshold): strength down to which what is joined to a change counts as changed.
        seed (none): where the random samples and trees start from.
    """

    block: int = Field(default=512, ge=64)
    most_cells: int = Field(default=1 << 22, ge=10_000)
    cell: int = Field(default=0, ge=0, le=MOST_CELL)
    reach_down: float = Field(default=0.8, gt=0, le=1)
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Prepared:
    """What was learned of a whole pair; fit to be pickled.

    Attributes:
        method: how the images are compared, in words.
        shift: ``(rows, columns)`` by which the content of the image after lies off that before, pixels.
        threshold: strength from which a pixel counts as changed.
        changed_share: of the ground looked at while learning that is changed, 0..1.
        cell: pixels a side of the cells that are compared.
        words: the method, then remarks for people, if there are any.
    """

    method: str
    shift: tuple[float, float]
    threshold: float
    changed_share: float
    cell: int
    words: tuple[str, ...]
    scales: tuple[Scale, Scale] = field(repr=False)
    model: models.Model = field(repr=False)


class _Window(NamedTuple):
    """Images in cells with what surrounds them: ``float32 (band, y, x)``, valid ``bool (y, x)``, and the inner part."""

    before: Floats
    seen_before: Bools
    after: Floats
    seen_after: Bools
    inner: tuple[slice, slice]


class _Part(NamedTuple):
    """What a block is computed from. valid: pixels of it before and after, ``bool (y, x)``."""

    row0: int
    col0: int
    window: _Window
    valid: tuple[Bools, Bools]


class _Look(NamedTuple):
    """Normalised images and features of a window; where both were seen; the inner part."""

    before: models.Samples
    after: models.Samples
    seen: Bools
    inner: tuple[slice, slice]

    def near(self) -> Bools:
        """Where both were seen, and the strength counts."""
        near = np.zeros_like(self.seen)
        part = tuple(slice(max(0, side.start - fields.NEAR), side.stop + fields.NEAR) for side in self.inner)
        near[part] = self.seen[part]
        return near


class Bitemporal:
    """Finds change between two images. Pure: equal input gives equal output.

    The order of the images hardly matters, nor do units, offsets, or a band more: all are learned from the pair. What
    changed must be the lesser part, or it is taken for what is usual.
    """

    name: Final = "bitemporal"
    version: Final = "1"

    def __init__(self, parameters: BitemporalParameters | None = None) -> None:
        self.parameters = parameters or BitemporalParameters()

    def parameter_hash(self) -> str:
        """Digest of the parameters; with name and version it makes a result reproducible."""
        return self.parameters.digest()

    def prepare(self, pair: Pair) -> Prepared:
        """Learn from the whole pair, or from windows spread over it where it is large.

        Raises:
            PairRefused: an image without valid pixels, with values that are not numbers only, or without contrast; or
                too little ground that both images show.
        """
        rows, columns = pair.grid.shape
        cell = self.parameters.cell or int(np.ceil(np.sqrt(rows * columns / self.parameters.most_cells)))
        windows = self._windows(pair, cell)
        self._check(windows)
        scales = self._scales(windows)
        shift = shift_between(
            [(s.apply(w.before), t.apply(w.after), w.seen_before & w.seen_after) for w in windows for s, t in [scales]]
        )
        with ThreadPoolExecutor(WORKERS) as pool:
            looks = list(pool.map(lambda window: _look(window, scales, shift), windows))
        model = self._model(looks, models.TREES if cell == 1 else models.TREES_LARGE)
        with ThreadPoolExecutor(WORKERS) as pool:
            strengths = list(pool.map(lambda look: _strength(look, model), looks))
        inner = np.concatenate([s[look.inner][look.seen[look.inner]] for s, look in zip(strengths, looks, strict=True)])
        # Of a copy nothing is left but rounding, which the threshold would part in two.
        threshold = float("inf") if _equal(windows) else max(models.threshold(inner), models.LEAST_THRESHOLD)
        low = threshold * self.parameters.reach_down
        changed = sum(
            int(fields.decide(s, low, threshold)[look.inner].sum()) for s, look in zip(strengths, looks, strict=True)
        )
        pixels = shift[0] * cell, shift[1] * cell
        words = _words(scales, model, threshold, changed / len(inner))
        return Prepared(words[0], pixels, threshold, changed / len(inner), cell, words, scales, model)

    def compare(self, pair: Pair, prepared: Prepared) -> Iterator[tuple[int, int, Floats, Codes]]:
        """Strength and decision, block by block in row-major order, each pixel exactly once.

        Reads in the caller's thread; two threads compute the blocks read before. A few blocks are held at a time.

        Yields:
            ``(row0, col0, strength, change)``: strength ``float32 (y, x)``, NaN where there are no data; change
            ``uint8 (y, x)``: 0 no data, 1 unchanged, 2 changed.
        """
        cell = prepared.cell
        parts = _blocks(pair, self.parameters.block, prepared) if cell == 1 else _strips(pair, cell, prepared)
        waiting: deque[tuple[int, int, Future[tuple[Floats, Codes]]]] = deque()
        with ThreadPoolExecutor(WORKERS) as pool:
            for part in parts:
                waiting.append((part.row0, part.col0, pool.submit(self._block, part, prepared)))
                if len(waiting) > WORKERS:
                    done = waiting.popleft()
                    yield done[0], done[1], *done[2].result()
            for row0, col0, result in waiting:
                yield row0, col0, *result.result()

    def _block(self, part: _Part, prepared: Prepared) -> tuple[Floats, Codes]:
        cell, window = prepared.cell, part.window
        # Where the image after is moved, its own mask moves with it, and the look has that.
        valid = part.valid[0]
        if prepared.shift == (0.0, 0.0):
            valid = valid & part.valid[1]
        look = _look(window, prepared.scales, (prepared.shift[0] / cell, prepared.shift[1] / cell))
        strength = _strength(look, prepared.model)
        low = prepared.threshold * self.parameters.reach_down
        changed = fields.decide(strength, low, prepared.threshold)[look.inner]
        known = look.seen[look.inner]
        strength = strength[look.inner]
        if cell > 1:
            known, changed = _spread(known, cell, valid), _spread(changed, cell, valid)
            strength = _spread(strength, cell, valid)
        known = known & valid
        codes = np.where(changed, CHANGED, UNCHANGED).astype(np.uint8)
        codes[~known] = NO_DATA
        return np.where(known, strength, np.float32(np.nan)), codes

    def _windows(self, pair: Pair, cell: int) -> list[_Window]:
        """Windows of the whole pair where it is small; else as many as may be learned from, spread evenly."""
        rows, columns = pair.grid.shape
        side = WINDOW * cell
        corners = [(r, c) for r in range(0, rows, side) for c in range(0, columns, side)]
        most = max(1, (LEARNED if cell == 1 else LEARNED_LARGE) // WINDOW**2)
        if len(corners) > most:
            # A step that shares no factor with the windows in a row walks through all columns.
            across = -(-columns // side)
            step = len(corners) / most
            picked = [int((k + 0.5) * step) for k in range(most)]
            corners = [corners[(i // across) * across + (i % across + i // across) % across] for i in picked]
        result = []
        for r, c in corners:
            shape = min(side, rows - r), min(side, columns - c)
            result.append(_part(pair, r, c, shape, cell, fields.REACH).window)
        return result

    def _check(self, windows: list[_Window]) -> None:
        named: tuple[tuple[Which, list[Bools]], ...] = (
            ("before", [w.seen_before for w in windows]),
            ("after", [w.seen_after for w in windows]),
        )
        for which, seen in named:
            if not any(s.any() for s in seen):
                raise PairRefused(f"the image {which} has no valid pixel: all is no-data or not a number", which)
        if sum(int((w.seen_before & w.seen_after)[w.inner].sum()) for w in windows) < LEAST_COMMON:
            raise PairRefused(
                f"the images have fewer than {LEAST_COMMON} valid pixels of ground in common; check that they overlap",
                "both",
            )

    def _scales(self, windows: list[_Window]) -> tuple[Scale, Scale]:
        scales: list[Scale] = []
        both = [w.seen_before & w.seen_after for w in windows]
        named: tuple[tuple[Which, list[Floats]], ...] = (
            ("before", [w.before for w in windows]),
            ("after", [w.after for w in windows]),
        )
        for which, images in named:
            values = np.concatenate([i[:, s] for i, s in zip(images, both, strict=True)], axis=1)
            scale = scale_of(values, speckled(images, both))
            if scale is None:
                raise PairRefused(f"the image {which} is constant where both have data: nothing can be compared", which)
            scales.append(scale)
        return scales[0], scales[1]

    def _model(self, looks: list[_Look], trees: int) -> models.Model:
        count = [int(look.seen[look.inner].sum()) for look in looks]
        total = sum(count)
        if total < LEAST_COMMON:
            raise PairRefused("too little ground is left in common once the images are brought together", "both")
        picked = np.sort(np.random.default_rng(self.parameters.seed).permutation(total)[:TRAINED])
        parts: list[list[Floats]] = [[] for _ in range(4)]
        start = 0
        for look, n in zip(looks, count, strict=True):
            own = picked[(picked >= start) & (picked < start + n)] - start
            start += n
            at = np.flatnonzero(look.seen[look.inner])[own]
            for store, planes in zip(parts, (*look.before, *look.after), strict=True):
                store.append(planes[:, *look.inner].reshape(len(planes), -1)[:, at])
        samples = [np.concatenate(part, axis=1)[:, None] for part in parts]
        return models.fit(models.Samples(*samples[:2]), models.Samples(*samples[2:]), trees, self.parameters.seed)


def _reach(shift: tuple[float, float], cell: int) -> int:
    """Cells around a block that its result depends on."""
    return fields.REACH + int(np.ceil(max(map(abs, shift)) / cell))


def _in_cells(pair: Pair, row0: int, col0: int, shape: tuple[int, int], cell: int) -> tuple[Cells, Cells]:
    """A window in cells, without what is not a number."""
    if cell > 1 and isinstance(pair, PairInCells):
        return pair.read_cells(row0, col0, shape, cell)
    read = pair.read(row0, col0, shape)
    before, after = (_one_in_cells(values, seen, cell) for values, seen in (read[:2], read[2:]))
    return before, after


def _one_in_cells(values: Floats, seen: Bools, cell: int) -> Cells:
    known = seen & np.isfinite(values).all(axis=0)
    if cell == 1:
        return Cells(values, known, seen)
    finite = np.ascontiguousarray(np.where(known, values, np.float32(0)))
    return Cells(*fields.reduced(finite, known, cell), seen)


def _part(pair: Pair, row0: int, col0: int, shape: tuple[int, int], cell: int, reach: int) -> _Part:
    """A block with so many cells around it, where there are any."""
    top, left = max(0, row0 - reach * cell), max(0, col0 - reach * cell)
    bottom, right = (
        min(whole, first + size + reach * cell)
        for whole, first, size in zip(pair.grid.shape, (row0, col0), shape, strict=True)
    )
    before, after = _in_cells(pair, top, left, (bottom - top, right - left), cell)
    down, across = row0 - top, col0 - left
    inner = (
        slice(down // cell, -(-(down + shape[0]) // cell)),
        slice(across // cell, -(-(across + shape[1]) // cell)),
    )
    window = _Window(before.values, before.known, after.values, after.known, inner)
    pixels = np.s_[down : down + shape[0], across : across + shape[1]]
    return _Part(row0, col0, window, (before.valid[pixels], after.valid[pixels]))


def _blocks(pair: Pair, side: int, prepared: Prepared) -> Iterator[_Part]:
    """Squares, each read with what surrounds it."""
    rows, columns = pair.grid.shape
    reach = _reach(prepared.shift, 1)
    for row0 in range(0, rows, side):
        for col0 in range(0, columns, side):
            yield _part(pair, row0, col0, (min(side, rows - row0), min(side, columns - col0)), 1, reach)


def _strips(pair: Pair, cell: int, prepared: Prepared) -> Iterator[_Part]:
    """Whole rows, each pixel read once: what surrounds a strip is kept in cells, or read ahead."""
    rows, columns = pair.grid.shape
    reach = _reach(prepared.shift, cell)
    height = max(2 * reach, STRIP_PIXELS // columns // cell) * cell
    starts = list(range(0, rows, height))

    def read(number: int) -> tuple[Cells, Cells]:
        row0 = starts[number]
        return _in_cells(pair, row0, 0, (min(height, rows - row0), columns), cell)

    above: tuple[Cells, Cells] | None = None
    own = read(0)
    for number, row0 in enumerate(starts):
        below = read(number + 1) if number + 1 < len(starts) else None
        before, after = (_stacked(above and above[k], own[k], below and below[k], reach) for k in (0, 1))
        first = 0 if above is None else above[0].known.shape[0]
        inner = slice(first, first + own[0].known.shape[0]), slice(0, own[0].known.shape[1])
        window = _Window(*before, *after, inner)
        yield _Part(row0, 0, window, (own[0].valid, own[1].valid))
        if below:
            kept = [Cells(one.values[:, -reach:], one.known[-reach:], one.valid[:0]) for one in own]
            above, own = (kept[0], kept[1]), below


def _stacked(above: Cells | None, own: Cells, below: Cells | None, reach: int) -> tuple[Floats, Bools]:
    """A strip with what was kept from above and the first cells from below, where there are any."""
    values = [part.values for part in (above, own) if part] + ([below.values[:, :reach]] if below else [])
    known = [part.known for part in (above, own) if part] + ([below.known[:reach]] if below else [])
    return np.concatenate(values, axis=1), np.concatenate(known)


def _equal(windows: list[_Window]) -> bool:
    """Whether one image is a copy of the other."""
    return all(
        w.before.shape == w.after.shape
        and np.array_equal(w.before[:, w.seen_before & w.seen_after], w.after[:, w.seen_before & w.seen_after])
        for w in windows
    )


def _spread(plane: NDArray[T], cell: int, like: Bools) -> NDArray[T]:
    """Cells to pixels, cut to the shape of ``like``."""
    return plane.repeat(cell, 0).repeat(cell, 1)[: like.shape[0], : like.shape[1]]


def _look(window: _Window, scales: tuple[Scale, Scale], shift: tuple[float, float]) -> _Look:
    before, after = scales[0].apply(window.before), scales[1].apply(window.after)
    seen_after = window.seen_after
    if shift != (0.0, 0.0):
        after, seen_after = fields.moved(after, seen_after, shift)
    seen = window.seen_before & seen_after
    about = fields.features((before, after), seen)
    return _Look(models.Samples(before, about[0]), models.Samples(after, about[1]), seen, window.inner)


def _strength(look: _Look, model: models.Model) -> Floats:
    """``float32 (y, x)``, smoothed, 0 where not seen, and where it counts for nothing."""
    near = look.near()
    return fields.smooth(model.strength(look.before, look.after, near), near)


def _words(
    scales: tuple[Scale, Scale],
    model: models.Model,
    threshold: float,
    share: float,
) -> tuple[str, ...]:
    """The method, and what a reader has to know beside the shift, the cells and the share that are given as numbers."""
    method = "each image predicted from the other by regression and randomised trees"
    if model.trust > 0:
        method += f", with alteration variates (IR-MAD) at a weight of {model.trust:.2f}"
    words = [method]
    for which, scale in zip(("before", "after"), scales, strict=True):
        if scale.logarithm:
            words.append(f"the image {which} has multiplicative noise, as radar has: its logarithm was compared")
    if not np.isfinite(threshold):
        words.append("the images are copies of each other")
    elif model.told < LEAST_TOLD:
        words.append(
            f"the one image lets expect only {model.told:.0%} of the other: radar does that beside optical images, "
            "so do images of other ground, and ground that changed for the most part: what is said of it then is not "
            "to be relied on"
        )
    elif share > MOST_CHANGED:
        words.append(
            f"{share:.0%} of the ground differs from the rest: where most of it changed, what is called changed and "
            "what is not are exchanged"
        )
    return tuple(words)
