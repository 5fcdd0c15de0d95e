"""Bands and indices of a patch's pixels, and how they vary over it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import INDICES, Spread
from detectors.kernels import groups
from detectors.members import Floats64, Members

SHARES: Final = (0.1, 0.5, 0.9)
LEAST_SUM: Final = 1e-3
"""Least denominator of an index: atmospheric correction can push reflectance to zero and below."""


def columns_of(spectra: NDArray[np.float32], bands: tuple[str, ...]) -> dict[str, Floats64]:
    """Bands and ``INDICES`` of pixels by name, ``float64 (n,)``; NaN where a band is missing.

    Args:
        spectra: ``float32 (n, band)``, reflectance 0..1.
    """
    values = {band: spectra[:, i].astype(np.float64) for i, band in enumerate(bands)}

    def band(name: str) -> Floats64:
        return values.get(name, np.full(len(spectra), np.nan))

    def either(name: str, other: str) -> Floats64:
        return np.where(np.isfinite(band(name)), band(name), band(other))

    seen = np.stack([band(name) for name in ("blue", "green", "red")])
    count = np.isfinite(seen).sum(axis=0)
    visible = np.divide(np.nansum(seen, axis=0), count, out=np.full(len(spectra), np.nan), where=count > 0)
    indices = (
        _ratio(band("nir"), band("red")),
        _ratio(band("swir16") + band("red"), band("nir") + band("blue")),
        _ratio(band("green"), either("swir16", "nir")),
        _ratio(band("nir"), either("swir22", "swir16")),
        visible,
        band("swir16") / np.maximum(visible, LEAST_SUM),
    )
    return values | dict(zip(INDICES, indices, strict=True))


def _ratio(a: Floats64, b: Floats64) -> Floats64:
    """(a - b) / (a + b)."""
    ratio: Floats64 = np.clip((a - b) / np.maximum(a + b, LEAST_SUM), -1, 1)
    return ratio


def spreads(members: Members, columns: dict[str, Floats64]) -> list[dict[str, Spread]]:
    """The spread of each column over each patch; a column that a patch lacks is left out."""
    found = members.quantiles(np.stack(list(columns.values()), axis=1), SHARES)
    known = np.isfinite(found[:, :, 1])
    return [
        {
            name: Spread(median, low, high)
            for name, (low, median, high), there in zip(columns, rows, knows, strict=True)
            if there
        }
        for rows, knows in zip(found.tolist(), known.tolist(), strict=True)
    ]


def textures(members: Members, after: dict[str, Floats64]) -> list[dict[str, float]]:
    """How rough each patch is after the change; see ``PatchEvidence.texture``. What is not known is left out."""
    pairs = members.neighbours()
    table = {
        "visible_contrast": _contrast(members, after["visible"], pairs),
        "nir_contrast": _contrast(members, after["nir"], pairs) if "nir" in after else np.full(len(members), np.nan),
        "mixture": _mixture(members),
    }
    rows = np.stack(list(table.values()), axis=1)
    return [
        {name: value for name, value, known in zip(table, row, knows, strict=True) if known}
        for row, knows in zip(rows.tolist(), np.isfinite(rows).tolist(), strict=True)
    ]


def _contrast(members: Members, values: Floats64, pairs: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Floats64:
    """Mean absolute difference of pixels that share a side, over the mean, by patch."""
    first, second = pairs
    difference = members.means(np.abs(values[first] - values[second]), first)
    contrast: Floats64 = difference / np.maximum(members.means(values), LEAST_SUM)
    return contrast


def _mixture(members: Members) -> Floats64:
    """Share of the variance along the first principal component between the two classes of Otsu's threshold."""
    spectra = members.pixels.after.astype(np.float64)
    bands = spectra.shape[1]
    means = np.stack([members.means(spectra[:, b]) for b in range(bands)], axis=1)
    centred = np.nan_to_num(spectra - means[members.owner])  # a band that is missing does not vary
    products = np.empty((len(members), bands, bands))
    for i in range(bands):
        for j in range(i, bands):
            products[:, i, j] = products[:, j, i] = members.means(centred[:, i] * centred[:, j])
    _, axes = np.linalg.eigh(products)
    along = np.einsum("nb,nb->n", centred, axes[members.owner, :, -1])
    return groups.separation(np.ascontiguousarray(along), members.starts)
