"""The ground of a case that no satellite found: as somebody drew or named it, and what the law says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import numpy as np
import shapely
from pyproj import Geod
from shapely import GEOSException, MultiPolygon, Polygon
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from sqlalchemy.orm import Session

from app.access.service import Caller, enter
from app.boundaries.assessing import Subject
from app.boundaries.models import Layer
from app.boundaries.overlay import Overlay, judge_many
from app.casework.guards import invalid
from app.foundation.database import set_scope
from app.foundation.geometry import GEOD, as_multipolygon
from app.monitoring.models import Detection

# From the highest down.
_LEVELS = ("national", "provincial", "prefecture", "county")
_CORNERS = 64
MOST_CORNERS = 20_000


def judge_ground(session: Session, caller: Caller, geometry: BaseGeometry, activity: str, on: date) -> Overlay:
    """The legal overlay of a valid polygon (EPSG:4490) by what was in force on a day.

    Whoever reports ground does not see every layer there; the verdict rests on all of them, so the second wall is
    opened while the ground is judged, and closed again.
    """
    session.flush()
    set_scope(session, None)
    overlay = judge_many(session, [Subject(geometry, on, None, activity)])[0]
    enter(session, caller)
    return overlay


def judgement_payload(judged: Overlay | Detection) -> dict[str, Any]:
    """The verdict on a ground, as an event keeps it; figures read there in which zones and areas it lies."""
    return {
        "verdict": judged.verdict.value,
        "severity": judged.severity.value,
        "verdict_ground": judged.verdict_ground,
        "verdict_ground_zh": judged.verdict_ground_zh,
        "judged_by": judged.judged_by,
        "zones": _named(judged.overlaps, Layer.protected_areas, "category"),
        "protected_areas": _named(judged.overlaps, Layer.protected_areas, "code"),
        "redlines": _named(judged.overlaps, Layer.redlines, "code"),
    }


def _named(overlaps: Iterable[Mapping[str, Any]], layer: Layer, what: str) -> list[str]:
    return sorted({str(one[what]) for one in overlaps if one.get("layer") == layer and one.get(what)})


def read_ground(geometry: Mapping[str, Any], pointer: str) -> MultiPolygon:
    """The ground that a request gives as GeoJSON (RFC 7946), longitude and latitude.

    Raises:
        Invalid: it is no valid polygon, holds too many corners, or its coordinates are no degrees.
    """
    try:
        ground = as_multipolygon(shapely.force_2d(shape(dict(geometry))))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, GEOSException):
        raise invalid(pointer, "must be a GeoJSON Polygon or MultiPolygon") from None
    west, south, east, north = ground.bounds
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise invalid(pointer, "coordinates are longitude and latitude in degrees")
    if shapely.get_num_coordinates(ground) > MOST_CORNERS:
        raise invalid(pointer, f"has more than {MOST_CORNERS} corners; simplify it")
    if not ground.is_valid:
        raise invalid(pointer, f"is not a valid polygon: {shapely.is_valid_reason(ground)}")
    return ground


def protected_area_level(overlaps: Iterable[Mapping[str, Any]]) -> str | None:
    """The highest level of the protected areas in an overlay; None: in none, or of a level that is not known."""
    levels = {one.get("level") for one in overlaps if one.get("layer") == Layer.protected_areas}
    return next((level for level in _LEVELS if level in levels), None)


def circle(longitude: float, latitude: float, area_m2: float, geod: Geod = GEOD) -> BaseGeometry:
    """A polygon of the given area in square metres about a point: a regular one on the ellipsoid, with 64 corners."""
    # Of a regular polygon with n corners on a circle: area = n / 2 · r² · sin(2π / n).
    radius = float(np.sqrt(2 * area_m2 / (_CORNERS * np.sin(2 * np.pi / _CORNERS))))
    # Counter-clockwise, as exterior rings run.
    bearings = -np.arange(_CORNERS) * 360 / _CORNERS
    there = np.ones(_CORNERS)
    x, y, _ = geod.fwd(there * longitude, there * latitude, bearings, there * radius)
    return shapely.force_2d(Polygon(np.column_stack([x, y])))
