"""Curved geometries of GeoPackages and geodatabases: found by their WKB, and linearised by GDAL.

Arrow hands curves over as they are stored, and shapely refuses them; pyogrio's other reader has GDAL linearise them (an
arc becomes chords of at most 4 degrees) and says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import shapely
from pyogrio.raw import read as read_raw

# CircularString, CompoundCurve, CurvePolygon, MultiCurve, MultiSurface (ISO 13249-3, table of WKB codes).
_CURVED = (8, 9, 10, 11, 12)
LINEARISED = "its curves were linearised (chords of at most 4 degrees)"


def curved(wkb: Iterable[bytes | None]) -> npt.NDArray[np.intp]:
    """Places of the curved geometries among WKB, by the type in its first five bytes; with Z, M or both too."""
    nothing = bytes(5)
    heads = b"".join([value[:5].ljust(5, b"\0") if value else nothing for value in wkb])
    table = np.frombuffer(heads, np.uint8).reshape(-1, 5)
    little, big = (np.ascontiguousarray(table[:, 1:]).view(kind)[:, 0] for kind in ("<u4", ">u4"))
    codes = (np.where(table[:, 0] == 1, little, big) & 0x0FFF_FFFF) % 1000
    return np.flatnonzero(np.isin(codes, _CURVED))


def from_wkb(
    wkb: npt.NDArray[np.object_], path: Path, layer: str | None, first: int
) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.intp]]:
    """Geometries of a batch, None where WKB cannot be read, and the places of those that were linearised.

    Args:
        wkb: object[n] of bytes or None.
        first: number of the batch's first feature in the layer, from 1.

    Raises:
        pyogrio.errors.DataSourceError, DataLayerError, GeometryError: the file cannot be read.
    """
    places = curved(wkb)
    if len(places):
        count = int(places[-1] - places[0]) + 1
        _, _, straight, _ = read_raw(
            path, layer=layer, columns=[], skip_features=first - 1 + int(places[0]), max_features=count
        )
        wkb = wkb.copy()
        wkb[places] = straight[places - places[0]]
    return np.asarray(shapely.from_wkb(wkb, on_invalid="ignore"), object), places
