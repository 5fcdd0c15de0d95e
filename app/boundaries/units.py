"""Divisions become supervising units: who answers for which ground, and who sees what lies on it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from uuid import UUID

import shapely
from shapely import MultiPolygon
from shapely.geometry.base import BaseGeometry
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.access.models import Unit, UnitLevel, UnitPeriod, UnitSuccession
from app.boundaries.models import Layer, LayerVersion, VersionStatus
from app.boundaries.reading import Feature
from app.foundation.errors import Invalid
from app.foundation.geometry import as_multipolygon

# A contact of less than this is the noise of two drawings of one border.
LEAST_CONTACT_M2 = 1.0
_RANK = {
    UnitLevel.province: 0,
    UnitLevel.prefecture: 1,
    UnitLevel.county: 2,
    UnitLevel.zone: 3,
    UnitLevel.agency: 3,
    UnitLevel.department: 3,
}


def level_of(feature: Feature) -> UnitLevel:
    return UnitLevel(feature.level or "")


def parent_of(feature: Feature) -> str | None:
    parent = feature.attributes.get("parent")
    return str(parent) if parent else None


def has_ended(feature: Feature, on: date) -> bool:
    return feature.valid_to is not None and feature.valid_to < on


def predecessors_of(feature: Feature) -> list[str]:
    """The codes of the units that a division follows: its column `predecessors`, separated by , ; 、 or space."""
    told = str(feature.attributes.get("predecessors") or "")
    return list(dict.fromkeys(code for code in re.split(r"[,;、，；\s]+", told) if code))


def check_periods(divisions: Mapping[str, Feature], valid_from: date) -> None:
    """A version of divisions is one state: each unit in force from its first day on, or ended before.

    So the ground worked out at the import is right on every day on which the version counts.

    Raises:
        Invalid: naming each unit that begins or ends later.
    """
    day = valid_from.isoformat()
    errors = []
    for code, feature in divisions.items():
        if feature.valid_from and feature.valid_from > valid_from:
            reason = (
                f"it begins on {feature.valid_from.isoformat()}, after this version, which counts from {day}; "
                "import it in a version that counts from that day or later"
            )
        elif feature.valid_to and not has_ended(feature, valid_from):
            reason = (
                f"it ends on {feature.valid_to.isoformat()}, while this version counts from {day} on; leave valid_to "
                "out, and import the unit as ended in a version that counts from a day after its last"
            )
        else:
            continue
        errors.append({"pointer": f"features/{code}", "feature": None, "code": code, "detail": reason})
    _refuse(errors)


def check_hierarchy(divisions: Mapping[str, Feature], on: date) -> None:
    """Every unit but a province has a parent of a higher level, in force while it is; so the tree has no loop. Those
    that a unit follows have ended before it begins, so neither have successions.

    Raises:
        Invalid: naming each unit that does not.
    """
    errors = []
    for code, feature in divisions.items():
        level, parent = level_of(feature), parent_of(feature)
        above = divisions.get(parent) if parent else None
        if level is UnitLevel.province:
            reason = "a province has no parent" if parent else None
        elif parent is None:
            reason = f"a {level.value} needs a parent"
        elif above is None:
            reason = f"its parent {parent} is neither in this file nor imported before"
        elif _RANK[level_of(above)] >= _RANK[level]:
            reason = f"its parent {parent} is a {above.level}, which does not stand above a {level.value}"
        elif has_ended(above, on) and not has_ended(feature, on):
            reason = f"its parent {parent} has ended"
        else:
            reason = None
        reason = reason or _wrong_predecessor(feature, divisions, on)
        if reason:
            errors.append({"pointer": f"features/{code}", "feature": None, "code": code, "detail": reason})
    _refuse(errors)


def _wrong_predecessor(feature: Feature, divisions: Mapping[str, Feature], on: date) -> str | None:
    begins = feature.valid_from or on
    for code in predecessors_of(feature):
        before = divisions.get(code)
        if before is None:
            return f"its predecessor {code} is neither in this file nor imported before"
        if before.valid_to is None or before.valid_to >= begins:
            return (
                f"its predecessor {code} has not ended before {begins.isoformat()}, its own first day; put {code} in "
                "the file with the valid_to on which it ended"
            )
    return None


def _refuse(errors: Sequence[Mapping[str, str | None]]) -> None:
    if errors:
        first = errors[0]
        raise Invalid(f"{first['code']}: {first['detail']}. Nothing was imported.", errors=errors[:20])


def grounds(divisions: Mapping[str, Feature], on: date) -> dict[str, MultiPolygon]:
    """The ground that each unit answers for, by code: a partition, so that areas by unit add up.

    Counties, zones, and prefectures or provinces without a county below answer for ground; a zone overrides
    whatever lies beneath it, and of two zones that overlap the one with the smaller code has the common part. What
    has ended answers for nothing.
    """
    present = {code: feature for code, feature in sorted(divisions.items()) if not has_ended(feature, on)}
    above_counties = {parent_of(feature) for feature in present.values() if _RANK[level_of(feature)] in (1, 2)}
    answering = [
        feature
        for code, feature in present.items()
        if level_of(feature) in (UnitLevel.county, UnitLevel.zone)
        or (level_of(feature) in (UnitLevel.prefecture, UnitLevel.province) and code not in above_counties)
    ]
    found: dict[str, MultiPolygon] = {}
    taken: list[BaseGeometry] = []
    for feature in answering:
        if level_of(feature) is UnitLevel.zone:
            _add_ground(found, feature, taken)
            taken.append(feature.geometry)
    for feature in answering:
        if level_of(feature) is not UnitLevel.zone:
            _add_ground(found, feature, taken)
    return found


def _add_ground(found: dict[str, MultiPolygon], feature: Feature, taken: Sequence[BaseGeometry]) -> None:
    over = [other for other in taken if other.intersects(feature.geometry)]
    left = feature.geometry if not over else shapely.difference(feature.geometry, shapely.union_all(over))
    if left.area > 0:
        found[feature.code] = as_multipolygon(left)


def upsert_units(session: Session, divisions: Mapping[str, Feature], default_from: date) -> dict[str, UUID]:
    """Add and update the units of all divisions; a parent accepts for its children.

    Returns:
        The id of each unit, by code.
    """
    units = {unit.code: unit for unit in session.scalars(select(Unit).where(Unit.code.in_(divisions)))}
    by_rank = sorted(divisions.values(), key=lambda feature: (_RANK[level_of(feature)], feature.code))
    for feature in by_rank:
        parent = units.get(parent_of(feature) or "")
        unit = units.get(feature.code)
        if unit is None:
            unit = units[feature.code] = Unit(code=feature.code, accepting_unit_id=parent.id if parent else None)
            session.add(unit)
        elif unit.accepting_unit_id == unit.parent_id:
            unit.accepting_unit_id = parent.id if parent else None  # it was never set apart from the parent
        unit.name, unit.level = feature.name, level_of(feature)
        unit.parent_id = parent.id if parent else None
        unit.valid_from = feature.valid_from or default_from
        unit.valid_to = feature.valid_to
        session.flush()
        _keep_period(session, unit, default_from)
    for feature in divisions.values():
        for code in predecessors_of(feature):
            _keep_succession(session, units[code], units[feature.code])
    _refuse_circles(session)
    return {code: unit.id for code, unit in units.items()}


def _keep_period(session: Session, unit: Unit, since: date) -> None:
    """Note what a unit is called and under whom it stands, where that is new."""
    last = session.scalar(
        select(UnitPeriod).where(UnitPeriod.unit_id == unit.id).order_by(UnitPeriod.since.desc()).limit(1)
    )
    if last is None:
        since = min(since, unit.valid_from)
    elif (last.name, last.parent_id) == (unit.name, unit.parent_id):
        return
    told = insert(UnitPeriod).values(unit_id=unit.id, since=since, name=unit.name, parent_id=unit.parent_id)
    # A second version of one day corrects the first.
    session.execute(
        told.on_conflict_do_update(
            index_elements=[UnitPeriod.unit_id, UnitPeriod.since],
            set_={"name": told.excluded.name, "parent_id": told.excluded.parent_id},
        )
    )


def _keep_succession(session: Session, before: Unit, after: Unit) -> None:
    """Note that a unit follows another; what was noted stands."""
    told = insert(UnitSuccession).values(predecessor_id=before.id, successor_id=after.id, on=after.valid_from)
    session.execute(told.on_conflict_do_nothing())


def _refuse_circles(session: Session) -> None:
    """Two units that follow each other would stand below each other alone, and below nobody else.

    Raises:
        Invalid: naming the units.
    """
    codes = list(session.scalars(_CIRCLES))
    if codes:
        raise Invalid(
            f"{', '.join(codes)} would follow one another in a circle, with what was imported before. A unit that is "
            "established again needs a code of its own."
        )


_CIRCLES = text(
    """
    with recursive chain (origin, id) as (
        select predecessor_id, successor_id from unit_successions
        union
        select chain.origin, s.successor_id from chain join unit_successions s on s.predecessor_id = chain.id
    )
    select u.code from chain join units u on u.id = chain.origin where chain.id = chain.origin order by u.code
    """
)


def newest_divisions(session: Session) -> UUID | None:
    """The version of divisions by which jurisdiction goes now; None before the first import.

    It is the newest confirmed one, because none is confirmed before it counts.
    """
    return session.scalar(
        select(LayerVersion.id)
        .where(LayerVersion.layer == Layer.divisions, LayerVersion.status == VersionStatus.confirmed)
        .order_by(LayerVersion.number.desc())
        .limit(1)
    )
