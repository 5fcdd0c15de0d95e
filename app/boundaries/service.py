"""Importing layers, and finding what is in force on a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import cast
from uuid import UUID

from shapely import MultiPolygon
from sqlalchemy import ColumnElement, Select, and_, func, insert, or_, select, text
from sqlalchemy.orm import Session

from app.boundaries.models import (
    BoundaryFeature,
    Layer,
    LayerVersion,
    PermitRevocation,
    VersionKind,
    VersionStatus,
)
from app.boundaries.reading import Feature, read_layer
from app.boundaries.schemas import ImportReport
from app.boundaries.units import check_hierarchy, check_periods, grounds, replace_unit_ids, upsert_units
from app.foundation.errors import Invalid
from app.foundation.geometry import from_database, geodesic_area_m2, to_database
from app.foundation.identity import new_id
from app.foundation.time import legal_day, utc_now

# Any number, the same in every process: imports run one after the other.
_LOCK = 7_351_202_612
_BATCH = 500


def import_layer(
    session: Session,
    *,
    layer: Layer,
    path: Path,
    valid_from: date,
    source_document: str,
    imported_by: UUID | None,
    crs: str | None = None,
    encoding: str | None = None,
    max_unpacked_bytes: int | None = None,
) -> ImportReport:
    """Import a layer file as a new version, in the caller's transaction, which must see all.

    Content that equals the newest version's adds nothing. Divisions are merged by code: those that the file does not
    name are carried forward, so a file of zones adds to the counties. Units change with divisions at once, so these
    cannot be imported before the day from which they count.

    Args:
        valid_from: the day from which this version counts; also the first day of features that state none.
        source_document: the decree, approval or data set that the layer comes from.
        crs: of a file that declares none, such as `EPSG:4549`.
        encoding: `UTF-8` or `GB18030`, for a file that does not say.

    Raises:
        Invalid: the file is refused, and why.
    """
    if not source_document.strip():
        raise Invalid("Name the source document that the layer comes from.")
    if layer is Layer.divisions and valid_from > legal_day(utc_now()):
        raise Invalid(
            f"Units change as soon as divisions are imported. These count from {valid_from.isoformat()}: import them "
            "on that day or after it."
        )
    read = read_layer(path, layer, crs=crs, encoding=encoding, max_unpacked_bytes=max_unpacked_bytes)
    session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    newest = session.scalar(
        select(LayerVersion).where(LayerVersion.layer == layer).order_by(LayerVersion.number.desc()).limit(1)
    )
    before = _features_of(session, newest) if newest else {}
    features = read.features
    if layer is Layer.divisions:
        features = _merged(features, before, newest, valid_from)
        divisions = {feature.code: feature for feature in features}
        check_periods(divisions, valid_from)
        check_hierarchy(divisions, valid_from)
    digest = _digest(features)
    created = newest is None or newest.digest != digest
    if newest is None or created:
        version = _add_version(session, layer, features, digest, newest, valid_from, source_document, imported_by)
    else:
        version = newest
    return ImportReport(
        version_id=version.id,
        layer=layer,
        number=version.number,
        created=created,
        valid_from=version.valid_from,
        feature_count=version.feature_count,
        warnings=read.warnings,
        **_difference(before, features, version.valid_from, created),
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
        .cte("whole")
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


def _features_of(session: Session, version: LayerVersion) -> dict[tuple[str, str | None], Feature]:
    rows = session.scalars(select(BoundaryFeature).where(BoundaryFeature.version_id == version.id))
    return {
        (row.code, row.category): Feature(
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


def _merged(
    features: Sequence[Feature],
    before: Mapping[tuple[str, str | None], Feature],
    newest: LayerVersion | None,
    valid_from: date,
) -> list[Feature]:
    """The divisions of a file over those of the version before. A unit keeps its first day unless the file states one.

    Raises:
        Invalid: the file's day lies before the newest version's, which would hide it from today.
    """
    if newest is not None and valid_from < newest.valid_from:
        raise Invalid(
            f"The newest version of divisions counts from {newest.valid_from.isoformat()}; a file that adds to it "
            "cannot count from an earlier day."
        )
    merged = {feature.code: feature for feature in before.values()}
    for feature in features:
        known = merged.get(feature.code)
        since = feature.valid_from or (known.valid_from if known else valid_from)
        merged[feature.code] = replace(feature, valid_from=since)
    return [merged[code] for code in sorted(merged)]


def _digest(features: Sequence[Feature]) -> str:
    """SHA-256 of a layer's content, whatever the order of its features."""
    return sha256(b"".join(sorted(feature.digest() for feature in features))).hexdigest()


def _difference(
    before: Mapping[tuple[str, str | None], Feature], features: Sequence[Feature], valid_from: date, created: bool
) -> dict[str, int]:
    if not created:
        return {"added": 0, "changed": 0, "removed": 0}
    after = {(feature.code, feature.category): feature for feature in features}
    kept = before.keys() & after.keys()
    changed = sum(_at(before[key], valid_from).digest() != _at(after[key], valid_from).digest() for key in kept)
    return {"added": len(after) - len(kept), "changed": changed, "removed": len(before) - len(kept)}


def _at(feature: Feature, valid_from: date) -> Feature:
    return feature if feature.valid_from else replace(feature, valid_from=valid_from)


def _add_version(
    session: Session,
    layer: Layer,
    features: Sequence[Feature],
    digest: str,
    newest: LayerVersion | None,
    valid_from: date,
    source_document: str,
    imported_by: UUID | None,
) -> LayerVersion:
    version = LayerVersion(
        layer=layer,
        number=newest.number + 1 if newest else 1,
        valid_from=valid_from,
        source_document=source_document.strip(),
        digest=digest,
        feature_count=len(features),
        imported_by=imported_by,
    )
    session.add(version)
    session.flush()
    ground: dict[str, MultiPolygon] = {}
    if layer is Layer.divisions:
        divisions = {feature.code: feature for feature in features}
        ground = grounds(divisions, valid_from)
        upsert_units(session, divisions, valid_from)
    for start in range(0, len(features), _BATCH):
        rows = [_row(version, feature, ground.get(feature.code)) for feature in features[start : start + _BATCH]]
        session.execute(insert(BoundaryFeature), rows)
    # New units change who sees every layer; any other import only its own features.
    replace_unit_ids(session, None if layer is Layer.divisions else version.id)
    return version


def _row(version: LayerVersion, feature: Feature, ground: MultiPolygon | None) -> dict[str, object]:
    return {
        "id": new_id(),
        "version_id": version.id,
        "layer": version.layer,
        "code": feature.code,
        "name": feature.name,
        "level": feature.level,
        "category": feature.category,
        "holder": feature.holder,
        "document": feature.document,
        "valid_from": feature.valid_from or version.valid_from,
        "valid_to": feature.valid_to,
        "established_on": feature.established_on,
        "attributes": feature.attributes,
        "area_m2": geodesic_area_m2(feature.geometry),
        "geom": to_database(feature.geometry),
        "ground": to_database(ground) if ground is not None else None,
        "unit_ids": [],
    }
