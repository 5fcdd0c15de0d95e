"""Pairs that cannot be compared, found before anything is computed and refused by the file's name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.foundation.errors import Invalid
from app.monitoring.pair_files import Image
from app.monitoring.pair_grid import FilePair
from detectors.types import Floats

# Blocks of a file that are looked at to know its numbers.
_BLOCKS: Final = 32
# Pixels that are taken of each at about even distances.
_FROM_BLOCK: Final = 4096
# Reflectance is 0..1, above it only on snow, cloud and glint; no ground is darker than clear water in every band.
_BRIGHTEST_MEDIAN: Final = 2.0
_DARKEST_P99: Final = 0.005


def check_paths(before: Path, after: Path) -> None:
    """Refuse one file given twice, and what is no file: a pipe that nobody writes into is waited for in vain."""
    for role, path in (("BEFORE", before), ("AFTER", after)):
        if path.exists() and not path.is_file() and not path.is_dir():
            raise Invalid(f"{role} ({path.name}) is a pipe or a device; write it into a file first.")
    if before.exists() and after.exists() and before.samefile(after):
        raise Invalid(f"BEFORE and AFTER are the same file ({after.name}); name two images.")


def check_days(before: Image, after: Image) -> None:
    """Refuse images whose days of acquisition are known and in the wrong order.

    A file's own date (TIFFTAG_DATETIME) is at times that of its making: it is after the acquisition, so that it proves
    nothing against an earlier acquisition date of the other image.
    """
    one, other = before.taken, after.taken
    if one is None or other is None or (one.rank > other.rank and one.rank == 2):
        return
    if one.at.date() > other.at.date():
        raise Invalid(
            f"{before.label} is of {one.at.date()} by {one.source}, later than {after.label}, of {other.at.date()} by "
            f"{other.source}. Name the earlier image first, or correct the date."
        )


def check_numbers(pair: FilePair) -> None:
    """Refuse images without data, without contrast or with an impossible scale.

    Looks at blocks spread over the common ground; at all of it where those show nothing.
    """
    claimed = any(image.scaled and (image.scale != 1).any() for image in pair.images)
    for which, image in enumerate(pair.images):
        sample = _sample(pair, which)
        if not sample.shape[1] or _constant(sample):
            _check_contrast(pair, which)
        elif image.scaled and claimed:
            _check_reflectance(image, sample)


def _sample(pair: FilePair, which: int) -> Floats:
    """Valid pixels of an image `float32 (band, n)` from blocks spread over the common ground."""
    image = pair.images[which]
    parts = [np.empty((len(image.indexes), 0), np.float32)]
    for block in image.blocks(*pair.own_window(which), _BLOCKS):
        values, valid = image.read(*block)
        step = max(1, math.isqrt(valid.size // _FROM_BLOCK))
        parts.append(values[:, ::step, ::step][:, valid[::step, ::step]])
    return np.concatenate(parts, axis=1)


def _constant(sample: Floats) -> bool:
    return bool((sample.min(axis=1) == sample.max(axis=1)).all())


def _check_contrast(pair: FilePair, which: int) -> None:
    """Go through all of an image until two valid pixels differ."""
    image, first = pair.images[which], None
    for block in _strips(*pair.own_window(which)):
        values, valid = image.read(*block)
        sample = values[:, valid]
        if not sample.shape[1]:
            continue
        first = sample[:, :1] if first is None else first
        if (sample != first).any():
            return
    ground = "" if pair.own_window(which)[2:] == image.shape else " on the ground that both images show"
    if first is None:
        raise Invalid(f"{image.label} has no valid pixel{ground}: all is no data or no number.")
    raise Invalid(
        f"{image.label} is constant{ground}: every valid pixel is {_few(first[:, 0])}; there is nothing to see."
    )


def _strips(row0: int, col0: int, height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    rows = max(1, (1 << 22) // max(width, 1))
    for top in range(0, height, rows):
        yield row0 + top, col0, min(rows, height - top), width


def _few(values: NDArray[np.float32]) -> str:
    return ", ".join(f"{value:g}" for value in values[:6]) + (", …" if len(values) > 6 else "")


def _check_reflectance(image: Image, sample: Floats) -> None:
    """A scale was named: then its numbers are reflectance, 0..1."""
    option = f"--scale-{image.role.lower()} ({image.scale.flat[0]:g})"
    median, high = float(np.median(sample)), float(np.percentile(sample, 99))
    if median > _BRIGHTEST_MEDIAN or high < _DARKEST_P99:
        much = f"half of all numbers are above {median:.4g}" if median > 1 else f"99 % of them are below {high:.2g}"
        raise Invalid(
            f"{option} cannot be right for {image.label}: reflectance is 0 to 1, but {much} with it. Numbers of "
            "reflectance × 10000 take 0.0001."
        )
