"""The register of permits: what stands in it on a day, what is added to it, what is revoked.

Nothing is overwritten: an addition is a version of its own beside the newest whole register, a revocation a row of its
own, and both are read together with the versions (`service.in_force`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any
from uuid import UUID

import numpy as np
import shapely
from shapely import MultiPolygon
from shapely.errors import ShapelyError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.boundaries.coordinates import AS_STORED
from app.boundaries.ground import clean_geometries
from app.boundaries.models import (
    BoundaryFeature,
    Layer,
    LayerVersion,
    PermitRevocation,
    VersionKind,
    VersionStatus,
)
from app.boundaries.placing import load_grounds
from app.boundaries.reading import Feature
from app.boundaries.service import in_force, versions_in_force
from app.boundaries.versions import lock_versions
from app.boundaries.vocabulary import PermitKind
from app.foundation.errors import Conflict, Invalid, NotFound
from app.foundation.geometry import as_multipolygon, from_database, geodesic_area_m2, to_database
from app.foundation.identity import new_id


class PermitStatus(StrEnum):
    """How a permit of the register stands on a day."""

    in_force = "in_force"
    future = "future"
    expired = "expired"
    revoked = "revoked"


@dataclass(frozen=True)
class PermitFilter:
    """What to list; None means all. `expiring_within` days: in force, and ending within so many days from then."""

    on: date
    kind: PermitKind | None = None
    holder: str | None = None
    status: PermitStatus | None = None
    expiring_within: int | None = None


@dataclass(frozen=True)
class Addition:
    """A permit to add. `ground`: GeoJSON, or a feature of another layer by its code."""

    code: str
    name: str
    kind: PermitKind
    holder: str
    document: str
    valid_from: date
    valid_to: date | None
    ground: dict[str, Any] | tuple[Layer, str]


def select_permits(caller: Caller, given: PermitFilter) -> Select[BoundaryFeature]:
    """The entries of the register on a day, within the caller's jurisdiction, that fit a filter."""
    statement = in_jurisdiction(select(BoundaryFeature), caller, BoundaryFeature).where(
        BoundaryFeature.layer == Layer.permits,
        BoundaryFeature.version_id.in_(versions_in_force(Layer.permits, given.on)),
    )
    if given.kind is not None:
        statement = statement.where(BoundaryFeature.category == given.kind.value)
    if given.holder is not None:
        statement = statement.where(BoundaryFeature.holder.icontains(given.holder, autoescape=True))
    if given.status is not None:
        statement = statement.where(_stands(given.status, given.on))
    if given.expiring_within is not None:
        last = given.on + timedelta(days=given.expiring_within)
        statement = statement.where(_stands(PermitStatus.in_force, given.on), BoundaryFeature.valid_to <= last)
    return statement


def _stands(status: PermitStatus, on: date) -> ColumnElement[bool]:
    """The condition of `status_of`."""
    revoked = (
        select(PermitRevocation.id)
        .where(PermitRevocation.code == BoundaryFeature.code, PermitRevocation.revoked_on <= on)
        .exists()
    )
    began = BoundaryFeature.valid_from <= on
    ended = and_(BoundaryFeature.valid_to.is_not(None), BoundaryFeature.valid_to < on)
    return {
        PermitStatus.revoked: revoked,
        PermitStatus.future: and_(~revoked, ~began),
        PermitStatus.expired: and_(~revoked, ended),
        PermitStatus.in_force: and_(~revoked, began, ~ended),
    }[status]


def status_of(feature: BoundaryFeature, revocation: PermitRevocation | None, on: date) -> PermitStatus:
    """How a permit stands on a day; a revocation outweighs its period."""
    if revocation is not None and revocation.revoked_on <= on:
        return PermitStatus.revoked
    if feature.valid_from > on:
        return PermitStatus.future
    if feature.valid_to is not None and feature.valid_to < on:
        return PermitStatus.expired
    return PermitStatus.in_force


def revocations_of(session: Session, codes: set[str]) -> dict[str, PermitRevocation]:
    """The revocations of permits, by code."""
    rows = session.scalars(select(PermitRevocation).where(PermitRevocation.code.in_(codes)))
    return {row.code: row for row in rows}


def versions_of(session: Session, caller: Caller, code: str) -> list[tuple[BoundaryFeature, LayerVersion]]:
    """A permit in every confirmed version that it stands in, newest first.

    Raises:
        NotFound: it stands in none, or on the ground of others.
    """
    statement = (
        in_jurisdiction(select(BoundaryFeature, LayerVersion), caller, BoundaryFeature)
        .join(LayerVersion, LayerVersion.id == BoundaryFeature.version_id)
        .where(
            BoundaryFeature.layer == Layer.permits,
            BoundaryFeature.code == code,
            LayerVersion.status == VersionStatus.confirmed,
        )
        .order_by(LayerVersion.number.desc(), BoundaryFeature.id)
    )
    rows = [(row[0], row[1]) for row in session.execute(statement)]
    if not rows:
        raise NotFound()
    return rows


def add_permit(session: Session, caller: Caller, given: Addition, today: date) -> tuple[BoundaryFeature, list[str]]:
    """Add a permit to the register, as a version with this one feature; and what was mended of its ground.

    Raises:
        Conflict: a permit with this code stands in the register for some of the same days, or was revoked.
        Invalid: the period or the ground cannot be used.
    """
    if given.valid_to is not None and given.valid_to < given.valid_from:
        raise _invalid("valid_to", "lies before valid_from")
    ground, warnings = _ground(session, given)
    lock_versions(session)
    _check_code(session, given, today)
    feature = Feature(
        code=given.code,
        name=given.name,
        level=None,
        category=given.kind.value,
        holder=given.holder,
        document=given.document,
        valid_from=given.valid_from,
        valid_to=given.valid_to,
        attributes={} if isinstance(given.ground, dict) else {"ground_of": " ".join(given.ground)},
        geometry=ground,
    )
    number = session.scalar(select(func.max(LayerVersion.number)).where(LayerVersion.layer == Layer.permits)) or 0
    version = LayerVersion(
        id=new_id(),
        layer=Layer.permits,
        number=number + 1,
        kind=VersionKind.addition,
        # From today it is known; before, it counts where it was in force before.
        valid_from=min(given.valid_from, today),
        source_document=given.document,
        digest=sha256(feature.digest()).hexdigest(),
        feature_count=1,
        warnings=warnings,
        imported_by=caller.account_id,
    )
    session.add(version)
    session.flush()
    shapes = np.empty(1, object)
    shapes[0] = ground
    row = BoundaryFeature(
        id=new_id(),
        version_id=version.id,
        layer=Layer.permits,
        code=feature.code,
        name=feature.name,
        category=feature.category,
        holder=feature.holder,
        document=feature.document,
        valid_from=given.valid_from,
        valid_to=feature.valid_to,
        attributes=feature.attributes,
        area_m2=geodesic_area_m2(ground),
        digest=feature.digest(),
        geom=to_database(ground),
        unit_ids=[UUID(unit) for unit in load_grounds(session).units_of(shapes)[0]],
    )
    session.add(row)
    session.flush()
    return row, warnings


def revoke_permit(
    session: Session, caller: Caller, code: str, *, revoked_on: date, reason: str, document: str
) -> PermitRevocation:
    """Let a permit hold no longer from a day on. Nothing is deleted, and it cannot be taken back.

    Raises:
        NotFound: there is no such permit.
        Conflict: it was revoked before.
        Invalid: the day lies before its first or after its last.
    """
    # Before the permit is looked up: one that was added meanwhile is what would be revoked.
    lock_versions(session)
    rows = versions_of(session, caller, code)
    if revocations_of(session, {code}):
        raise Conflict(f"The permit {code} was revoked before; that stands.")
    newest = rows[0][0]
    if revoked_on < newest.valid_from:
        raise _invalid("revoked_on", f"lies before {newest.valid_from}, the first day of the permit")
    if newest.valid_to is not None and revoked_on > newest.valid_to:
        raise _invalid("revoked_on", f"lies after {newest.valid_to}, the last day of the permit: it ended by itself")
    revocation = PermitRevocation(
        code=code,
        revoked_on=revoked_on,
        reason=reason,
        document=document,
        recorded_by=caller.account_id,
        unit_ids=sorted({unit_id for feature, _ in rows for unit_id in feature.unit_ids}),
    )
    session.add(revocation)
    session.flush()
    return revocation


def _check_code(session: Session, given: Addition, today: date) -> None:
    if revocations_of(session, {given.code}):
        raise Conflict(f"The permit {given.code} was revoked; a new one needs a code of its own.")
    versions = [versions_in_force(Layer.permits, day) for day in {today, given.valid_from}]
    overlapping = and_(
        BoundaryFeature.valid_from <= (given.valid_to or date.max),
        or_(BoundaryFeature.valid_to.is_(None), BoundaryFeature.valid_to >= given.valid_from),
    )
    other = session.scalar(
        select(BoundaryFeature)
        .where(
            BoundaryFeature.layer == Layer.permits,
            BoundaryFeature.code == given.code,
            or_(*(BoundaryFeature.version_id.in_(these) for these in versions)),
            overlapping,
        )
        .limit(1)
    )
    if other is not None:
        until = f"until {other.valid_to}" if other.valid_to else "without an end"
        raise Conflict(f"There is a permit {given.code} from {other.valid_from} {until}; give this one another code.")


def _ground(session: Session, given: Addition) -> tuple[MultiPolygon, list[str]]:
    if not isinstance(given.ground, dict):
        return _ground_of(session, *given.ground, given.valid_from), []
    try:
        geometry: BaseGeometry = shape(given.ground)
    except (ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise _invalid("geometry", "is no GeoJSON geometry that can be read") from None
    refused: list[str] = []
    warnings: list[str] = []
    shapes = np.empty(1, object)
    shapes[0] = geometry
    (cleaned,) = clean_geometries(
        shapes,
        AS_STORED,
        lambda _, reason: refused.append(reason),
        lambda _, what: warnings.append(f"geometry: {what}"),
    )
    if refused or cleaned is None:
        raise _invalid("geometry", "; ".join(refused) or "cannot be used")
    return as_multipolygon(cleaned), warnings


def _ground_of(session: Session, layer: Layer, code: str, on: date) -> MultiPolygon:
    """The ground of a feature of another layer in force on a day, all its zones together."""
    rows = session.scalars(select(BoundaryFeature.geom).where(in_force(layer, on), BoundaryFeature.code == code)).all()
    if not rows:
        raise _invalid("ground", f"there was no feature {code} of {layer} in force on {on}")
    return as_multipolygon(shapely.union_all([from_database(geom) for geom in rows]))


def _invalid(pointer: str, detail: str) -> Invalid:
    return Invalid(f"Mend these fields: {pointer}.", errors=[{"pointer": pointer, "detail": detail}])


def version_numbers(session: Session, ids: set[UUID]) -> dict[UUID, LayerVersion]:
    """Versions by id."""
    return {row.id: row for row in session.scalars(select(LayerVersion).where(LayerVersion.id.in_(ids)))}
