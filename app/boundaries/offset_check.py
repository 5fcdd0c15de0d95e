"""Whether a layer that is imported has the offset of a web map, against what the database holds already."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.boundaries.models import BoundaryFeature, Layer, LayerVersion
from app.boundaries.offsets import FEATURE_CELL_M, MAX_FEATURES, OFFSET_NAMES, Offset, Sample, detect_offset
from app.boundaries.service import within_box
from app.boundaries.units import newest_divisions
from app.boundaries.vocabulary import OffsetSaid
from app.foundation.errors import Invalid

# A border may lie this far beside the layer's own bounding box when the layer is moved: some 2 km, in degrees.
_BESIDE = 0.03


def judge_offset(
    session: Session, layer: Layer, sample: Sample, newest: LayerVersion | None, said: OffsetSaid | None
) -> list[str]:
    """What is to be said of a layer's offset.

    Features whose code the version before has are compared with those; where that says nothing, the layer is compared
    with the borders of the divisions, along which red lines and protected areas are cut.

    Args:
        newest: the newest confirmed version of the layer, if there is one.
        said: what the caller says of the file's offset. `none` takes a suspicious layer as it is.

    Raises:
        Invalid: the layer looks as if it had an offset, and the caller said nothing of it.
    """
    codes, geometries = sample.content()
    if not len(geometries):
        return []
    found = _against_version(session, codes, geometries, newest)
    if found.verdict == "undetermined" and layer is not Layer.divisions:
        found = _against_divisions(session, geometries) or found
    if found.verdict == "none":
        return []
    if found.verdict == "undetermined":
        return [f"whether the layer has the offset of a web map (GCJ-02, BD-09) could not be determined: {found.why}"]
    looks = f"the layer looks as if it were in {OFFSET_NAMES[found.verdict]}, some 500 m off: {found.why}"
    if said is not None:
        taken = "it was taken as it is" if said == "none" else "after the conversion that was asked for"
        return [f"{looks}; {taken}"]
    raise Invalid(
        f"{looks[0].upper()}{looks[1:]}. Write it again in EPSG:4490, or import it with offset={found.verdict}, which "
        "converts it to about a metre, or with offset=none, which takes it as it is. Nothing was imported.",
        offset=found.verdict,
    )


def _against_version(
    session: Session,
    codes: npt.NDArray[np.object_],
    geometries: npt.NDArray[np.object_],
    newest: LayerVersion | None,
) -> Offset:
    if newest is None:
        return Offset("undetermined", "there is no version before it to compare with")
    known = set(codes.tolist())
    matching = BoundaryFeature.code.in_(known)
    rows = _geometries(session, BoundaryFeature.version_id == newest.id, matching)
    if not rows:
        return Offset("undetermined", "the version before it has no feature of the same code")
    found = {code for code, _ in rows}
    both = np.array([code in found for code in codes], dtype=bool)
    shapes = np.array([shape for _, shape in rows], object)
    return detect_offset(geometries[both], shapes, "the version before it", FEATURE_CELL_M)


def _against_divisions(session: Session, geometries: npt.NDArray[np.object_]) -> Offset | None:
    """None where there are no divisions."""
    divisions = newest_divisions(session)
    if divisions is None:
        return None
    west, south, east, north = shapely.total_bounds(geometries).tolist()
    box = within_box((west - _BESIDE, south - _BESIDE, east + _BESIDE, north + _BESIDE))
    rows = _geometries(session, BoundaryFeature.version_id == divisions, box)
    return detect_offset(geometries, np.array([shape for _, shape in rows], object), "the divisions")


def _geometries(session: Session, *conditions: ColumnElement[bool]) -> list[tuple[str, Any]]:
    """Codes and geometries of the features that meet conditions."""
    statement = select(BoundaryFeature.code, func.ST_AsBinary(BoundaryFeature.geom)).where(*conditions)
    rows = session.execute(statement.limit(2 * MAX_FEATURES)).all()
    return [(code, shapely.from_wkb(bytes(wkb))) for code, wkb in rows]
