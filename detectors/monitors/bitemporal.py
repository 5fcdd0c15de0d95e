"""Change between two images of one ground."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from pydantic import Field
from skimage.filters import threshold_otsu

from detectors.pairs import Pair, PairRefused
from detectors.protocol import Parameters
from detectors.types import Codes, Floats

NO_DATA: Final = 0
UNCHANGED: Final = 1
CHANGED: Final = 2


class BitemporalParameters(Parameters):
    """Parameters of ``Bitemporal``: pixels a side of the blocks that it reads and gives."""

    block: int = Field(default=512, ge=64)


@dataclass(frozen=True)
class Prepared:
    """What was learned of a whole pair.

    Attributes:
        method: how the images were compared, in words.
        shift: ``(rows, columns)`` by which the image after lies off the image before, pixels.
        threshold: strength from which a pixel counts as changed.
        changed_share: of the pixels valid in both, that lie above the threshold in the sample, 0..1.
        words: sentences for people.
    """

    method: str
    shift: tuple[float, float]
    threshold: float
    changed_share: float
    words: tuple[str, ...]
    centre: Floats = field(repr=False)
    spread: Floats = field(repr=False)


class Bitemporal:
    """Finds change between two images. Pure: equal input gives equal output."""

    name: Final = "bitemporal"
    version: Final = "1"

    def __init__(self, parameters: BitemporalParameters | None = None) -> None:
        self.parameters = parameters or BitemporalParameters()

    def parameter_hash(self) -> str:
        """Digest of the parameters; with name and version it makes a result reproducible."""
        return self.parameters.digest()

    def prepare(self, pair: Pair) -> Prepared:
        """Learn what the whole pair tells.

        Raises:
            PairRefused: an image without valid pixels or without contrast, or no ground valid in both.
        """
        before, seen_before, after, seen_after = pair.read(0, 0, pair.grid.shape)
        for image, seen, which in ((before, seen_before, "before"), (after, seen_after, "after")):
            if not seen.any():
                raise PairRefused(f"the image {which} has no valid pixel", which)  # type: ignore[arg-type]
            if np.ptp(image[:, seen], axis=1).max() == 0:
                raise PairRefused(f"the image {which} is constant", which)  # type: ignore[arg-type]
        both = seen_before & seen_after
        if not both.any():
            raise PairRefused("the images have no valid ground in common", "both")
        n = min(len(before), len(after))
        change = after[:n, both] - before[:n, both]
        centre = np.median(change, axis=1).astype(np.float32)
        spread = np.maximum(change.std(axis=1), 1e-9).astype(np.float32)
        strength = np.sqrt((((change.T - centre) / spread) ** 2).sum(axis=1))
        threshold = float(threshold_otsu(strength))
        share = float((strength >= threshold).mean())
        return Prepared("change vectors", (0.0, 0.0), threshold, share, ("Change vectors.",), centre, spread)

    def compare(self, pair: Pair, prepared: Prepared) -> Iterator[tuple[int, int, Floats, Codes]]:
        """Strength and decision, block by block in row-major order, each pixel exactly once.

        Yields:
            ``(row0, col0, strength, change)``: strength ``float32 (y, x)``, NaN where there are no data; change
            ``uint8 (y, x)``: 0 no data, 1 unchanged, 2 changed.
        """
        rows, columns = pair.grid.shape
        for row0 in range(0, rows, self.parameters.block):
            for col0 in range(0, columns, self.parameters.block):
                shape = min(self.parameters.block, rows - row0), min(self.parameters.block, columns - col0)
                before, seen_before, after, seen_after = pair.read(row0, col0, shape)
                n = len(prepared.centre)
                scaled = (after[:n] - before[:n] - prepared.centre[:, None, None]) / prepared.spread[:, None, None]
                strength = np.sqrt((scaled**2).sum(axis=0)).astype(np.float32)
                change = np.where(strength >= prepared.threshold, CHANGED, UNCHANGED).astype(np.uint8)
                hidden = ~(seen_before & seen_after)
                strength[hidden], change[hidden] = np.nan, NO_DATA
                yield row0, col0, strength, change
