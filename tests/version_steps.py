"""Versions of layers for the tests, put into the database as an import with a preview leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from hashlib import sha256
from typing import Any
from uuid import UUID

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.boundaries.models import BoundaryFeature, Layer, LayerVersion, VersionKind, VersionStatus
from app.boundaries.placing import load_grounds
from app.boundaries.versions import confirm
from app.foundation.geometry import geodesic_areas_m2, to_database


def feature(code: str, ground: BaseGeometry, **told: Any) -> dict[str, Any]:
    return {"code": code, "name": f"红线{code}", "category": "水源涵养", "geom": ground} | told


def propose(
    session: Session,
    rows: Sequence[dict[str, Any]],
    *,
    layer: Layer = Layer.redlines,
    valid_from: date = date(2020, 1, 1),
    kind: VersionKind = VersionKind.whole,
) -> LayerVersion:
    """A proposed version with these features, seen by the units that they touch."""
    number = session.scalar(select(func.max(LayerVersion.number)).where(LayerVersion.layer == layer)) or 0
    version = LayerVersion(
        layer=layer, number=number + 1, status=VersionStatus.proposed, kind=kind, valid_from=valid_from,
        source_document="吉政函〔2018〕1号", digest=str(number), feature_count=len(rows),
    )  # fmt: skip
    session.add(version)
    session.flush()
    shapes = np.empty(len(rows), dtype=object)
    shapes[:] = [row["geom"] for row in rows]
    for row, units in zip(rows, load_grounds(session).units_of(shapes), strict=True):
        geometry = row["geom"]
        told = {"valid_from": valid_from, "unit_ids": [UUID(unit) for unit in units], "attributes": {}} | row
        content = repr({key: value for key, value in told.items() if key not in ("geom", "valid_from", "unit_ids")})
        session.add(
            BoundaryFeature(
                version_id=version.id,
                layer=layer,
                area_m2=float(geodesic_areas_m2([geometry])[0]),
                digest=sha256(content.encode() + shapely.normalize(geometry).wkb).digest(),
                **(told | {"geom": to_database(geometry)}),
            )
        )
    session.flush()
    return version


def confirmed(session: Session, rows: Sequence[dict[str, Any]], **options: Any) -> LayerVersion:
    """A version that was compared and confirmed."""
    from app.boundaries.comparison import compare

    version = propose(session, rows, **options)
    compare(session, version)
    return confirm(session, version, None)
