"""GCJ-02 and BD-09: coordinates of Chinese web maps, moved by some 500 m, and how a layer that has them is found out.

The formulas are the public approximations, as in eviltransform (github.com/googollee/eviltransform) and coordtransform
(github.com/wandergis/coordtransform); nobody has published the exact ones. They differ from the real transformation by
a metre or so, and their inverses here are exact to below a centimetre. WGS 84 and CGCS2000 are the same to a metre.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

Coordinates = NDArray[np.float64]
OffsetVerdict = Literal["none", "gcj02", "bd09", "undetermined"]
OFFSET_NAMES = {"gcj02": "GCJ-02", "bd09": "BD-09"}
# Semi-major axis and squared eccentricity of Krasovsky's ellipsoid, which the formulas use.
_A = 6378245.0
_EE = 0.00669342162296594323
_BD = np.pi * 3000.0 / 180.0
_METRES_PER_DEGREE = 111_319.49
# A step of the inverses shrinks the error by a factor of a thousand; the rest is a few steps in case.
_STEPS = 6


def gcj02_from_wgs84(xy: Coordinates) -> Coordinates:
    """GCJ-02 longitude and latitude, (n, 2) degrees, of WGS 84 ones; defined on the mainland."""
    lon, lat = xy[:, 0] - 105.0, xy[:, 1] - 35.0
    root = np.sqrt(np.abs(lon))
    shared = (20.0 * np.sin(6.0 * lon * np.pi) + 20.0 * np.sin(2.0 * lon * np.pi)) * 2.0 / 3.0

    def waves(angle: NDArray[np.float64], first: float, second: float) -> NDArray[np.float64]:
        short = (20.0 * np.sin(angle * np.pi) + 40.0 * np.sin(angle / 3.0 * np.pi)) * 2.0 / 3.0
        long = (first * np.sin(angle / 12.0 * np.pi) + second * np.sin(angle / 30.0 * np.pi)) * 2.0 / 3.0
        return np.asarray(short + long)

    north = -100.0 + 2.0 * lon + 3.0 * lat + 0.2 * lat**2 + 0.1 * lon * lat + 0.2 * root + shared
    north += waves(lat, 160.0, 320.0)
    east = 300.0 + lon + 2.0 * lat + 0.1 * lon**2 + 0.1 * lon * lat + 0.1 * root + shared
    east += waves(lon, 150.0, 300.0)
    latitude = np.radians(xy[:, 1])
    magic = 1.0 - _EE * np.sin(latitude) ** 2
    north_deg = np.degrees(north / (_A * (1.0 - _EE) / magic**1.5))
    east_deg = np.degrees(east / (_A / np.sqrt(magic) * np.cos(latitude)))
    return np.asarray(xy + np.column_stack((east_deg, north_deg)))


def bd09_from_gcj02(xy: Coordinates) -> Coordinates:
    """BD-09 longitude and latitude, (n, 2) degrees, of GCJ-02 ones."""
    lon, lat = xy[:, 0], xy[:, 1]
    radius = np.hypot(lon, lat) + 0.00002 * np.sin(lat * _BD)
    angle = np.arctan2(lat, lon) + 0.000003 * np.cos(lon * _BD)
    return np.column_stack((radius * np.cos(angle) + 0.0065, radius * np.sin(angle) + 0.006))


def wgs84_from_gcj02(xy: Coordinates) -> Coordinates:
    """The inverse of `gcj02_from_wgs84`, to below a centimetre."""
    return _inverse(gcj02_from_wgs84, xy)


def gcj02_from_bd09(xy: Coordinates) -> Coordinates:
    """The inverse of `bd09_from_gcj02`, to below a centimetre."""
    return _inverse(bd09_from_gcj02, xy)


def wgs84_from_bd09(xy: Coordinates) -> Coordinates:
    """WGS 84 longitude and latitude, (n, 2) degrees, of BD-09 ones."""
    return wgs84_from_gcj02(gcj02_from_bd09(xy))


def bd09_from_wgs84(xy: Coordinates) -> Coordinates:
    """BD-09 longitude and latitude, (n, 2) degrees, of WGS 84 ones."""
    return bd09_from_gcj02(gcj02_from_wgs84(xy))


def _inverse(forward: Callable[[Coordinates], Coordinates], target: Coordinates) -> Coordinates:
    """Fixed-point iteration: the offset hardly changes over the offset's own length."""
    found = target.copy()
    for _ in range(_STEPS):
        found += target - forward(found)
    return found


TO_WGS84: dict[str, Callable[[Coordinates], Coordinates]] = {"gcj02": wgs84_from_gcj02, "bd09": wgs84_from_bd09}

# Detection

# Distances are looked at up to here; what lies farther has nothing to do with the border.
_REACH_M = 2_000.0
# One vertex a cell: vertices beside each other on one border say the same thing. Features known by their codes differ
# from those beside them, however small they are.
BORDER_CELL_M, FEATURE_CELL_M = 500.0, 100.0
MAX_FEATURES = 5_000
MAX_VERTICES = 20_000
MAX_REFERENCE_VERTICES = 1_000_000
# How closely a border is drawn twice: copied, drawn again, drawn at another scale.
_SPREADS_M = (2.0, 10.0, 40.0)
_SHARES = np.concatenate((np.linspace(0.01, 0.2, 20), np.linspace(0.25, 0.95, 15), [0.99]))
# The better hypothesis must explain this many vertices, be e^10 times as likely, and fit twice the share of the next.
_MIN_VERTICES = 8
_MIN_LOG_RATIO = 10.0
_MIN_SHARE = 0.05


# Corners kept of a layer to judge it by; some 10 MB, and a second or two.
MAX_CORNERS = 300_000


class Sample:
    """The first features of a layer: as many as it is judged by, and not more than memory allows."""

    def __init__(self) -> None:
        self._codes: list[str | None] = []
        self._geometries: list[NDArray[np.object_]] = []
        self._corners = 0

    def add(self, codes: Sequence[str | None], geometries: NDArray[np.object_]) -> None:
        """Take features, object[n] of polygons in EPSG:4490, unless there are enough."""
        left = MAX_FEATURES - len(self._codes)
        if left <= 0 or self._corners >= MAX_CORNERS or not len(geometries):
            return
        corners = np.cumsum(shapely.get_num_coordinates(geometries))
        count = min(left, int(np.searchsorted(corners, MAX_CORNERS - self._corners)) + 1, len(geometries))
        self._codes.extend(codes[:count])
        self._geometries.append(geometries[:count])
        self._corners += int(corners[count - 1])

    def content(self) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Codes and geometries, object[n] each."""
        if not self._geometries:
            return np.empty(0, object), np.empty(0, object)
        return np.array(self._codes, dtype=object), np.concatenate(self._geometries)


@dataclass(frozen=True)
class Fit:
    """How well a layer's vertices lie on reference borders once an offset is taken away.

    Attributes:
        share: of the vertices that lie on a border.
        spread_m: how far off it they lie, one standard deviation.
        log_likelihood: natural logarithm.
    """

    share: float
    spread_m: float
    log_likelihood: float


@dataclass(frozen=True)
class Offset:
    """Whether a layer has the offset of a web map. `why` is in words; `vertices` were compared."""

    verdict: OffsetVerdict
    why: str
    vertices: int = 0
    fits: dict[str, Fit] | None = None


def detect_offset(
    geometries: NDArray[Any],
    references: NDArray[Any],
    what: str = "the reference",
    cell_m: float = BORDER_CELL_M,
) -> Offset:
    """Whether polygons have the offset of GCJ-02 or BD-09, by how their vertices lie on borders that are right.

    Three hypotheses are compared: the coordinates are as they should be, are GCJ-02, are BD-09. Under each the offset
    is taken away, and the distance d of every vertex to the nearest reference border is a draw of a mixture: with
    share w the vertex lies on the border (half-normal of standard deviation s), else anywhere within 2 km (uniform).
    w and s are those of greatest likelihood on a grid. The best hypothesis is taken only if it explains at least 8
    vertices, each in a cell of its own, at least a twentieth of all and twice as many as the next one, and is e^10
    times as likely.
    References of the same features fit whole, those of a layer that shares borders in part.

    Args:
        geometries: polygons in degrees; the first 5,000 are looked at.
        references: polygons in degrees whose borders are right.
        what: the reference in words, for `why`.
        cell_m: of the vertices in a square of this size, one is looked at.
    """
    vertices = _vertices(np.asarray(geometries, dtype=object)[:MAX_FEATURES], cell_m)
    segments, origin = _segments(np.asarray(references, dtype=object))
    if not len(vertices) or segments is None:
        return Offset("undetermined", "there is nothing to compare with")
    tree = shapely.STRtree(segments)
    distances = {"none": _distances(tree, vertices, origin)}
    for name, inverse in TO_WGS84.items():
        distances[name] = _distances(tree, inverse(vertices), origin)
    # A vertex that is far from any border under every hypothesis says nothing.
    near = np.min(list(distances.values()), axis=0) < _REACH_M
    count = int(near.sum())
    if count < _MIN_VERTICES:
        return Offset("undetermined", f"too little of it ({count} places) lies near a border of {what}", count)
    fits = {name: _fit(each[near]) for name, each in distances.items()}
    return _decide(fits, count, what)


def _decide(fits: dict[str, Fit], count: int, what: str) -> Offset:
    best, second = sorted(fits, key=lambda name: fits[name].log_likelihood, reverse=True)[:2]
    ratio = fits[best].log_likelihood - fits[second].log_likelihood
    share = fits[best].share
    if share < _MIN_SHARE or share * count < _MIN_VERTICES:
        return Offset(
            "undetermined", f"its borders do not follow those of {what}, with or without an offset", count, fits
        )
    others = max(fit.share for name, fit in fits.items() if name != best)
    if ratio < _MIN_LOG_RATIO or others > share / 2:
        return Offset("undetermined", f"{count} places compared with {what} fit about equally well", count, fits)
    why = f"{share:.0%} of {count} places lie on the borders of {what} to within about {fits[best].spread_m:g} m"
    if best == "none":
        return Offset("none", why, count, fits)
    return Offset("gcj02" if best == "gcj02" else "bd09", f"{why} once that offset is taken away", count, fits)


def _fit(distances: NDArray[np.float64]) -> Fit:
    anywhere = 1.0 / _REACH_M
    best = Fit(0.0, _SPREADS_M[0], len(distances) * float(np.log(anywhere)))
    for spread in _SPREADS_M:
        on_border = np.sqrt(2.0 / np.pi) / spread * np.exp(-0.5 * (distances / spread) ** 2)
        mixed = _SHARES[:, None] * on_border[None, :] + (1.0 - _SHARES[:, None]) * anywhere
        likelihoods = np.log(mixed).sum(axis=1)
        index = int(np.argmax(likelihoods))
        if likelihoods[index] > best.log_likelihood:
            best = Fit(float(_SHARES[index]), spread, float(likelihoods[index]))
    return best


def _vertices(geometries: NDArray[Any], cell_m: float) -> Coordinates:
    """Vertices of polygons, (n, 2) degrees, thinned to one a cell and to at most `MAX_VERTICES`, evenly."""
    xy = shapely.get_coordinates(geometries)
    xy = xy[np.isfinite(xy).all(axis=1)]
    if not len(xy):
        return xy
    cells = np.floor(_metres(xy, float(np.median(xy[:, 0]))) / cell_m).astype(np.int64)
    _, first = np.unique(cells, axis=0, return_index=True)
    kept = xy[np.sort(first)]
    return np.asarray(
        kept if len(kept) <= MAX_VERTICES else kept[np.linspace(0, len(kept) - 1, MAX_VERTICES).astype(int)]
    )


def _segments(references: NDArray[Any]) -> tuple[NDArray[Any] | None, float]:
    """The reference borders as segments in metres, and the longitude that these are counted from."""
    xy, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(references)), return_index=True)
    xy, ring = xy[:MAX_REFERENCE_VERTICES], ring[:MAX_REFERENCE_VERTICES]
    together = ring[1:] == ring[:-1]
    if not together.any():
        return None, 0.0
    origin = float(np.median(xy[:, 0]))
    metres = _metres(xy, origin)
    pairs = np.stack((metres[:-1][together], metres[1:][together]), axis=1)
    return np.asarray(shapely.linestrings(pairs)), origin


def _metres(xy: Coordinates, origin: float) -> Coordinates:
    """Sinusoidal projection on a sphere: distances of a kilometre are right to a few per cent within a province."""
    lat = np.radians(xy[:, 1])
    return np.column_stack(((xy[:, 0] - origin) * np.cos(lat), xy[:, 1])) * _METRES_PER_DEGREE


def _distances(tree: shapely.STRtree, xy: Coordinates, origin: float) -> NDArray[np.float64]:
    """Metres from each place (n, 2) to the nearest segment; 2 km where it is farther."""
    points = np.asarray(shapely.points(_metres(xy, origin)))
    (index, _), distance = tree.query_nearest(points, max_distance=_REACH_M, return_distance=True, all_matches=False)
    found = np.full(len(points), _REACH_M)
    found[index] = distance
    return found
