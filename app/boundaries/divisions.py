"""Versions of divisions: a file adds to the version before, and units change when it is confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import cast

from shapely import MultiPolygon
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.boundaries.models import BoundaryFeature, LayerVersion
from app.boundaries.reading import Feature
from app.boundaries.units import check_hierarchy, check_periods, grounds, upsert_units
from app.foundation.errors import Invalid
from app.foundation.geometry import from_database, to_database
from app.foundation.time import legal_day, utc_now


def merged(
    session: Session, features: Sequence[Feature], newest: LayerVersion | None, valid_from: date
) -> list[Feature]:
    """The divisions of a file over those of the newest confirmed version, checked to be one tree in one state.

    A unit keeps its first day unless the file states one.

    Raises:
        Invalid: the file's day lies before the newest version's, which would hide it from today; a unit that begins
            or ends later, or has no parent.
    """
    if newest is not None and valid_from < newest.valid_from:
        raise Invalid(
            f"The newest version of divisions counts from {newest.valid_from.isoformat()}; a file that adds to it "
            "cannot count from an earlier day."
        )
    divisions = _features_of(session, newest) if newest else {}
    for feature in features:
        known = divisions.get(feature.code)
        since = feature.valid_from or (known.valid_from if known else valid_from)
        divisions[feature.code] = replace(feature, valid_from=since)
    check_periods(divisions, valid_from)
    check_hierarchy(divisions, valid_from)
    return [divisions[code] for code in sorted(divisions)]


def check_day(valid_from: date) -> None:
    """Raises Invalid for a day to come: units change as soon as a version of divisions is confirmed."""
    if valid_from > legal_day(utc_now()):
        raise Invalid(
            f"Units change as soon as divisions are imported. These count from {valid_from.isoformat()}: import them "
            "on that day or after it."
        )


def change_units(session: Session, version: LayerVersion) -> None:
    """Make a version of divisions, about to be confirmed, the units: names, tree, and the ground of each.

    Who sees what lies on it is worked out once it is confirmed (`placing.replace_unit_ids`).

    Raises:
        Invalid: its day is yet to come, or it is no tree.
    """
    check_day(version.valid_from)
    divisions = _features_of(session, version)
    check_periods(divisions, version.valid_from)
    check_hierarchy(divisions, version.valid_from)
    for code, ground in grounds(divisions, version.valid_from).items():
        session.execute(
            update(BoundaryFeature)
            .where(BoundaryFeature.version_id == version.id, BoundaryFeature.code == code)
            .values(ground=to_database(ground))
            .execution_options(synchronize_session=False)
        )
    upsert_units(session, divisions, version.valid_from)


def _features_of(session: Session, version: LayerVersion) -> dict[str, Feature]:
    rows = session.scalars(select(BoundaryFeature).where(BoundaryFeature.version_id == version.id))
    return {
        row.code: Feature(
            code=row.code,
            name=row.name,
            level=row.level,
            category=row.category,
            holder=row.holder,
            document=row.document,
            valid_from=row.valid_from,
            valid_to=row.valid_to,
            attributes=row.attributes,
            geometry=cast("MultiPolygon", from_database(row.geom)),
            established_on=row.established_on,
        )
        for row in rows
    }
