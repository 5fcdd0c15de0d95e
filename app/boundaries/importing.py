"""Importing a layer file as a new version: read, judged and written batch by batch, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.boundaries.comparison import compare
from app.boundaries.divisions import check_day, merged
from app.boundaries.files import open_file
from app.boundaries.mappings import renaming
from app.boundaries.models import Layer, LayerVersion, VersionKind, VersionStatus
from app.boundaries.offset_check import judge_offset
from app.boundaries.placing import load_grounds
from app.boundaries.reading import LayerReader, features_of
from app.boundaries.schemas import ImportReport
from app.boundaries.versions import lock_versions, put_in_force
from app.boundaries.vocabulary import AxisOrder, OffsetSaid
from app.boundaries.writing import Writer
from app.foundation.errors import Invalid
from app.settings import get_settings

Progress = Callable[[int, int], None]
"""Is told how many features were read, and how many there are."""


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
    mapping: str | None = None,
    layer_name: str | None = None,
    axis_order: AxisOrder = "xy",
    offset: OffsetSaid | None = None,
    propose: bool = False,
    accuracy_m: float | None = None,
    progress: Progress | None = None,
    max_unpacked_bytes: int | None = None,
) -> ImportReport:
    """Import a layer file as a new version, in the caller's transaction, which must see all.

    Content that equals that of the whole version which counts on its day already adds nothing. Divisions are merged by
    code: those that the file does not name are carried forward, so a file of zones adds to the counties. Units change
    as soon as divisions are confirmed, so these cannot be before the day from which they count.

    Args:
        valid_from: the day from which this version counts; also the first day of features that state none.
        source_document: the decree, approval or data set that the layer comes from.
        crs: of a file that declares none, such as `EPSG:4549`.
        encoding: `UTF-8` or `GB18030`, for a file that does not say.
        mapping: name of the stored mapping of the file's columns and values.
        layer_name: the layer to read of a file that holds several.
        axis_order: "yx" where northing or latitude stands first in the file.
        offset: "gcj02" or "bd09" converts a file that has that offset; "none" takes one that looks so as it is.
        propose: leave the version to be confirmed or discarded; otherwise it is confirmed at once.
        accuracy_m: how far a drawn border may lie from the true one; None: the law's default for the layer.

    Raises:
        Invalid: the file is refused, and why. Nothing of it is left, and the transaction can go on.
    """
    if not source_document.strip():
        raise Invalid("Name the source document that the layer comes from.")
    if layer is Layer.divisions and not propose:
        check_day(valid_from)
    lock_versions(session)
    newest = _newest_confirmed(session, layer)
    already = _counting_on(session, layer, valid_from)
    version = LayerVersion(
        layer=layer,
        number=1 + (session.scalar(select(func.max(LayerVersion.number)).where(LayerVersion.layer == layer)) or 0),
        status=VersionStatus.proposed,
        valid_from=valid_from,
        source_document=source_document.strip(),
        digest="",
        feature_count=0,
        accuracy_m=accuracy_m,
        imported_by=imported_by,
    )
    renamed = renaming(session, layer, mapping) if mapping else None
    with (
        open_file(path, encoding, max_unpacked_bytes or get_settings().max_unpacked_bytes, layer_name) as source,
        session.begin_nested() as savepoint,
    ):
        reader = LayerReader(source, layer, crs=crs, mapping=renamed, axis_order=axis_order, offset=offset)
        session.add(version)
        session.flush()
        writer = _write(session, version, reader, newest, progress)
        reader.findings.say(judge_offset(session, layer, reader.sample, newest, offset))
        warnings = reader.findings.told_warnings()
        if already is not None and already.digest == version.digest:
            savepoint.rollback()
            return _report(already, warnings, created=False, difference=(0, 0, 0))
        version.warnings = warnings
        session.flush()
        writer.take_in()
    difference = _difference(session, version, newest)
    if propose:
        compare(session, version)
    else:
        put_in_force(session, version, imported_by)
    return _report(version, warnings, created=True, difference=difference)


def _newest_confirmed(session: Session, layer: Layer) -> LayerVersion | None:
    return session.scalar(
        select(LayerVersion)
        .where(
            LayerVersion.layer == layer,
            LayerVersion.status == VersionStatus.confirmed,
            LayerVersion.kind == VersionKind.whole,
        )
        .order_by(LayerVersion.number.desc())
        .limit(1)
    )


def _counting_on(session: Session, layer: Layer, day: date) -> LayerVersion | None:
    """The confirmed whole version that counts on a day; not always the newest, which may be of another day.

    None where something was added to it since: the same content once more is then the layer without what was added.
    """
    whole = session.scalar(
        select(LayerVersion)
        .where(
            LayerVersion.layer == layer,
            LayerVersion.status == VersionStatus.confirmed,
            LayerVersion.kind == VersionKind.whole,
            LayerVersion.valid_from <= day,
        )
        .order_by(LayerVersion.valid_from.desc(), LayerVersion.number.desc())
        .limit(1)
    )
    if whole is None:
        return None
    added = select(LayerVersion.id).where(
        LayerVersion.layer == layer,
        LayerVersion.status == VersionStatus.confirmed,
        LayerVersion.kind == VersionKind.addition,
        LayerVersion.number > whole.number,
    )
    return whole if session.scalar(added.limit(1)) is None else None


def _write(
    session: Session,
    version: LayerVersion,
    reader: LayerReader,
    newest: LayerVersion | None,
    progress: Progress | None,
) -> Writer:
    """Write what the reader finds; sets the version's count and digest."""
    divisions = version.layer is Layer.divisions
    batches = reader.batches(progress)
    if divisions:
        named = [feature for features in batches for feature in features.each()]
        batches = iter([features_of(merged(session, named, newest, version.valid_from))])
    with Writer(session, version, None if divisions else load_grounds(session)) as writer:
        for features in batches:
            writer.put(features)
    version.feature_count, version.digest = writer.count, writer.digest()
    return writer


_DIFFERENCE = text(
    """
    select
        count(*) filter (where old.code is null) as added,
        count(*) filter (where new.digest is distinct from old.digest and old.code is not null and new.code is not null)
            as changed,
        count(*) filter (where new.code is null) as removed
    from (select code, coalesce(category, '') as category, digest from boundary_features where version_id = :new) new
    full join (select code, coalesce(category, '') as category, digest from boundary_features where version_id = :old)
        old on old.code = new.code and old.category = new.category
    """
)


def _difference(session: Session, version: LayerVersion, newest: LayerVersion | None) -> tuple[int, int, int]:
    """Features added, changed and removed against the newest confirmed version."""
    if newest is None:
        return version.feature_count, 0, 0
    row = session.execute(_DIFFERENCE, {"new": version.id, "old": newest.id}).one()
    return row.added, row.changed, row.removed


def _report(
    version: LayerVersion, warnings: list[str], *, created: bool, difference: tuple[int, int, int]
) -> ImportReport:
    added, changed, removed = difference
    return ImportReport(
        version_id=version.id,
        layer=version.layer,
        number=version.number,
        status=version.status,
        created=created,
        valid_from=version.valid_from,
        feature_count=version.feature_count,
        added=added,
        changed=changed,
        removed=removed,
        warnings=warnings,
    )
