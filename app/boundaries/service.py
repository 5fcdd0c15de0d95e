"""Finding what is in force on a day."""

from __future__ import annotations

from datetime import date
from typing import cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from app.boundaries.models import (
    BoundaryFeature,
    Layer,
    LayerVersion,
    PermitRevocation,
    VersionKind,
    VersionStatus,
)


def versions_in_force(layer: Layer, on: date) -> Select[tuple[UUID]]:
    """The ids of the versions that together are a layer on a day: the newest confirmed whole version of those that
    began by then, and the confirmed additions to it that did.
    """
    confirmed = and_(
        LayerVersion.layer == layer, LayerVersion.status == VersionStatus.confirmed, LayerVersion.valid_from <= on
    )
    whole = (
        select(LayerVersion.id, LayerVersion.number)
        .where(confirmed, LayerVersion.kind == VersionKind.whole)
        .order_by(LayerVersion.valid_from.desc(), LayerVersion.number.desc())
        .limit(1)
        .cte()
    )
    since = func.coalesce(select(whole.c.number).scalar_subquery(), 0)
    additions = select(LayerVersion.id).where(
        confirmed, LayerVersion.kind == VersionKind.addition, LayerVersion.number > since
    )
    return cast("Select[tuple[UUID]]", select(whole.c.id).union_all(additions))


def in_force(layer: Layer, on: date) -> ColumnElement[bool]:
    """The condition that a feature of a layer is in force on a day.

    Its version is, the day lies within the feature's own period, both ends included, and no permit of its code was
    revoked by then.
    """
    condition = and_(
        BoundaryFeature.layer == layer,
        BoundaryFeature.version_id.in_(versions_in_force(layer, on)),
        BoundaryFeature.valid_from <= on,
        or_(BoundaryFeature.valid_to.is_(None), BoundaryFeature.valid_to >= on),
    )
    if layer is not Layer.permits:
        return condition
    revoked = select(PermitRevocation.id).where(
        PermitRevocation.code == BoundaryFeature.code, PermitRevocation.revoked_on <= on
    )
    return and_(condition, ~revoked.exists())


def within_box(box: tuple[float, float, float, float]) -> ColumnElement[bool]:
    """The condition that a feature's bounding box meets a box of longitude and latitude; served by the index."""
    envelope = func.ST_MakeEnvelope(*box, 4490)
    return cast("ColumnElement[bool]", BoundaryFeature.geom.op("&&")(envelope))
