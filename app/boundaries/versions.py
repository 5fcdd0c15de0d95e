"""Versions of a layer: what was proposed is confirmed or discarded, once, and stays as it was ever after."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID
from zlib import crc32

from sqlalchemy import Select, delete, exists, func, or_, select, text
from sqlalchemy.orm import Session

from app.boundaries.divisions import change_units
from app.boundaries.models import BoundaryFeature, Layer, LayerVersion, VersionKind, VersionStatus
from app.boundaries.placing import replace_unit_ids
from app.foundation.errors import Conflict, NotFound, StaleVersion
from app.foundation.time import utc_now

# Any number, the same in every process: imports and decisions run one after the other.
_LOCK = 7_351_202_612


def lock_versions(session: Session) -> None:
    """Wait until no other transaction imports or decides, and keep others from it until this one ends."""
    session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def select_versions(
    layer: Layer, *, see_undecided: bool, units: Collection[UUID] | None = None
) -> Select[LayerVersion]:
    """The versions of a layer; those that were confirmed alone, unless told otherwise.

    Args:
        units: an addition is one permit, and shown to these units where it is on their ground; None: all of them.
    """
    statement = select(LayerVersion).where(LayerVersion.layer == layer)
    if units is not None:
        theirs = exists().where(
            BoundaryFeature.version_id == LayerVersion.id, BoundaryFeature.unit_ids.overlap(list(units))
        )
        statement = statement.where(or_(LayerVersion.kind == VersionKind.whole, theirs))
    return statement if see_undecided else statement.where(LayerVersion.status == VersionStatus.confirmed)


def get_version(
    session: Session, layer: Layer, version_id: UUID, *, see_undecided: bool, units: Collection[UUID] | None = None
) -> LayerVersion:
    """One version of a layer; arguments as of `select_versions`.

    Raises:
        NotFound: there is none, or it may not be seen.
    """
    statement = select_versions(layer, see_undecided=see_undecided, units=units).where(LayerVersion.id == version_id)
    version = session.scalar(statement)
    if version is None:
        raise NotFound()
    return version


def count_confirmed(session: Session, layer: Layer) -> int:
    """How many versions of a layer were confirmed: it goes up with each, so it tells whether one came in between."""
    confirmed = (LayerVersion.layer == layer, LayerVersion.status == VersionStatus.confirmed)
    return session.scalar(select(func.count()).select_from(LayerVersion).where(*confirmed)) or 0


def revision(version: LayerVersion) -> int:
    """What `If-Match` names: another number after a decision, and after the version was compared anew."""
    compared_at = (version.comparison or {}).get("compared_at")
    return crc32(f"{version.status}|{compared_at}".encode()) % 10**9


def confirm(
    session: Session, version: LayerVersion, account_id: UUID | None, *, expected: int | None = None
) -> LayerVersion:
    """Let a proposed version count from its day on. Divisions change the units, and who sees what, with it.

    What must be judged anew is left to monitoring, which finds confirmed versions by `decided_at`.

    Args:
        expected: the `revision` that was decided on; None: whatever it is now.

    Raises:
        Conflict: it was decided already, never compared, or another version was confirmed since it was compared.
        StaleVersion: it is not as it was when it was decided on.
        Invalid: divisions that do not count yet.
    """
    _undecided(session, version, expected)
    _check_nothing_came_between(session, version)
    put_in_force(session, version, account_id)
    return version


def put_in_force(session: Session, version: LayerVersion, account_id: UUID | None) -> None:
    """Confirm a version as it is; of divisions, the units change with it. The caller holds `lock_versions`.

    Raises:
        Invalid: divisions that do not count yet.
    """
    if version.layer is Layer.divisions:
        # Before: what was confirmed is never written to again.
        change_units(session, version)
    version.status = VersionStatus.confirmed
    version.decided_at, version.decided_by = utc_now(), account_id
    session.flush()
    if version.layer is Layer.divisions:
        # New units change who sees every layer; of any other layer it was worked out when it was proposed.
        replace_unit_ids(session)


def discard(
    session: Session, version: LayerVersion, account_id: UUID | None, *, expected: int | None = None
) -> LayerVersion:
    """Give a proposed version up: its features go; its row stays with what it was and how it compared.

    Raises:
        Conflict: it was decided already.
        StaleVersion: it is not as it was when it was decided on.
    """
    _undecided(session, version, expected)
    session.execute(delete(BoundaryFeature).where(BoundaryFeature.version_id == version.id))
    version.status = VersionStatus.discarded
    version.decided_at, version.decided_by = utc_now(), account_id
    session.flush()
    return version


def lock_undecided(session: Session, version: LayerVersion) -> None:
    """Hold a version so that nobody else decides on it.

    Raises:
        Conflict: somebody has.
    """
    lock_versions(session)
    session.refresh(version, with_for_update=True)
    check_undecided(version)


def check_undecided(version: LayerVersion) -> None:
    """Raises: Conflict: it was confirmed or discarded."""
    if version.status is not VersionStatus.proposed:
        raise Conflict(f"Version {version.number} of {version.layer} was {version.status} already; that stands.")


def _undecided(session: Session, version: LayerVersion, expected: int | None) -> None:
    lock_undecided(session, version)
    if expected is not None and expected != revision(version):
        raise StaleVersion("The version was compared anew meanwhile; read it again and decide on what it says now.")


def _check_nothing_came_between(session: Session, version: LayerVersion) -> None:
    if version.comparison is None:
        raise Conflict(f"Version {version.number} of {version.layer} was never compared; compare it, then decide.")
    confirmed = count_confirmed(session, version.layer)
    if version.comparison.get("confirmed_versions") == confirmed:
        return
    later = session.scalar(
        select(func.max(LayerVersion.number)).where(
            LayerVersion.layer == version.layer, LayerVersion.status == VersionStatus.confirmed
        )
    )
    # Divisions were merged with the version of then; and of two versions of one day the higher number counts.
    if version.layer is Layer.divisions or (later or 0) > version.number:
        raise Conflict(
            f"Version {later} of {version.layer} was confirmed after this one was proposed. Discard this one and "
            "propose its file again."
        )
    raise Conflict(
        f"Version {later} of {version.layer} was confirmed after this one was compared. Compare it again, then decide."
    )
