"""Sources, and the scenes found in them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Boolean, Text, Uuid, any_, func, literal, literal_column, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from app.boundaries.overlay import units_touching
from app.foundation.errors import Conflict, Invalid, NotFound
from app.foundation.geometry import from_database, to_database
from app.foundation.identity import new_id
from app.foundation.time import utc_now
from app.imagery.found import FailedItem, FoundScene, base_of, is_remote, local_path
from app.imagery.identity import reference
from app.imagery.models import MaskKind, Scene, Source, SourceKind
from app.imagery.refs import MASK, SceneRef
from app.imagery.schemas import SourceConfiguration, SourceRequest
from app.imagery.sources import read_source


@dataclass
class SyncReport:
    """What one sync found. `found` counts scenes: added + updated + unchanged.

    `missing` counts scenes of earlier syncs that this one did not meet; 0 where its listing was not whole.
    """

    found: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    missing: int = 0
    failures: list[FailedItem] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return len(self.failures)


def add_source(session: Session, request: SourceRequest) -> Source:
    """A new source. A local location is kept absolute, so that it does not depend on where the service was started.

    Raises:
        Conflict: the name is taken.
        Invalid: the location does not go with the kind, or a folder has no pattern.
    """
    if request.kind is SourceKind.stac_api and not request.location.lower().startswith(("http://", "https://")):
        raise Invalid("The location of a STAC API starts with http:// or https://.")
    if request.kind is SourceKind.folder and is_remote(request.location):
        raise Invalid("The location of a folder is a path on the service's machine.")
    if (request.kind is SourceKind.folder) != (request.configuration.pattern is not None):
        raise Invalid("A folder needs `pattern` in its configuration; no other kind takes one.")
    if session.scalar(select(Source.id).where(Source.name == request.name)):
        raise Conflict(f"There is a source named {request.name!r} already.")
    try:
        location = request.location if is_remote(request.location) else str(local_path(request.location).resolve())
    except (ValueError, RuntimeError, OSError):
        # U+0000, half an address, or the home of nobody.
        raise Invalid("The location is neither an address nor a path.") from None
    source = Source(
        name=request.name,
        title=request.title,
        kind=request.kind,
        location=location,
        simulated=request.simulated,
        configuration=request.configuration.model_dump(mode="json", exclude_unset=True),
    )
    session.add(source)
    session.flush()
    return source


def source_by_name(session: Session, name: str) -> Source:
    """Raises: NotFound: there is none."""
    source = session.scalar(select(Source).where(Source.name == name))
    if source is None:
        raise NotFound(f"There is no image source named {name!r}.")
    return source


def configuration_of(source: Source) -> SourceConfiguration:
    return SourceConfiguration.model_validate(source.configuration)


def sync(session: Session, source: Source, progress: Callable[[int], None] | None = None) -> SyncReport:
    """Find the scenes of a source and keep each once; run again, it changes only what changed at the source.

    Scenes that the source no longer lists in a usable form stay, as detections were judged by them, but are marked
    missing until they come back; where a part of the listing could not be read, none is. A scene's units are found
    anew each time, so a sync after an import of divisions puts old scenes in their place.

    Args:
        progress: called with the number of items seen so far, after each.

    Raises:
        SourceUnreadable: the source itself cannot be read; nothing is kept of this sync.
    """
    # One sync of a source at a time; the lock lets others go on referring to the source.
    session.refresh(source, with_for_update={"key_share": True})
    columns = select(Scene.external_id, Scene.digest, Scene.unit_ids, Scene.missing_since, Scene.sensor)
    known = {
        row.external_id: _Known(row.digest, sorted(row.unit_ids), row.missing_since is not None, row.sensor)
        for row in session.execute(columns.where(Scene.source_id == source.id))
    }
    report = SyncReport()
    seen: set[str] = set()
    units: dict[bytes, list[UUID]] = {}
    for number, item in enumerate(read_source(source.kind, source.location, configuration_of(source)), start=1):
        if isinstance(item, FoundScene) and item.external_id in seen:
            item = FailedItem(item.external_id, "the source lists this identifier twice")
        if isinstance(item, FailedItem):
            report.failures.append(item)
        else:
            seen.add(item.external_id)
            _keep(session, source, item, known.get(item.external_id), units, report)
        if progress:
            progress(number)
    if not any(failure.hides for failure in report.failures):
        report.missing = _mark_missing(session, source, known.keys() - seen)
    source.synced_at = utc_now()
    session.flush()
    return report


@dataclass(frozen=True, slots=True)
class _Known:
    digest: str
    unit_ids: list[UUID]
    missing: bool
    sensor: str | None


def _keep(
    session: Session,
    source: Source,
    scene: FoundScene,
    known: _Known | None,
    units: dict[bytes, list[UUID]],
    report: SyncReport,
) -> None:
    # The scenes of a source often share one footprint, and finding its units is the dear part.
    if scene.footprint.wkb not in units:
        units[scene.footprint.wkb] = sorted(units_touching(session, scene.footprint))
    unit_ids = units[scene.footprint.wkb]
    report.found += 1
    same = known and (known.digest, sorted(known.unit_ids), known.sensor) == (
        scene.digest,
        unit_ids,
        scene.sensor or None,
    )
    if known and same and not known.missing:
        report.unchanged += 1
        return
    values: dict[str, Any] = {
        "acquired_at": scene.acquired_at,
        "platform": scene.platform,
        "sensor": scene.sensor or None,
        "cloud_cover": scene.cloud_cover,
        "footprint": to_database(scene.footprint),
        "properties": scene.properties,
        "assets": scene.assets,
        "digest": scene.digest,
        "unit_ids": unit_ids,
        "missing_since": None,
    }
    statement = insert(Scene).values(id=new_id(), source_id=source.id, external_id=scene.external_id, **values)
    changed = statement.on_conflict_do_update(
        index_elements=[Scene.source_id, Scene.external_id], set_=values | {"updated_at": func.now()}
    ).returning(literal_column("xmax = 0", Boolean))
    if session.scalar(changed):
        report.added += 1
    else:
        report.updated += 1


def _mark_missing(session: Session, source: Source, external_ids: Set[str]) -> int:
    # As one array: a large source has more scenes than a statement may have parameters.
    gone = any_(literal(sorted(external_ids), ARRAY(Text)))
    session.execute(
        update(Scene)
        .where(Scene.source_id == source.id, Scene.external_id == gone, Scene.missing_since.is_(None))
        .values(missing_since=utc_now())
    )
    return len(external_ids)


def scenes_between(
    session: Session, source_ids: Collection[UUID], geometry: BaseGeometry, start: datetime, end: datetime
) -> list[Scene]:
    """The scenes that sources list and that touch a geometry (EPSG:4490), acquired in [start, end), oldest first.

    Called in a worker's context, where every scene is seen.
    """
    area = to_database(geometry)
    statement = (
        select(Scene)
        .where(
            Scene.source_id.in_(source_ids),
            Scene.missing_since.is_(None),
            Scene.acquired_at >= start,
            Scene.acquired_at < end,
            # A row policy keeps functions that are not leakproof off the index; && stands there for them.
            Scene.footprint.op("&&")(area),
            func.ST_Intersects(Scene.footprint, area),
        )
        .order_by(Scene.acquired_at, Scene.external_id, Scene.id)
    )
    return list(session.scalars(statement))


def scenes_by_id(session: Session, ids: Collection[UUID]) -> list[Scene]:
    """Scenes by their identifiers, oldest first, also those that their source has withdrawn (`missing_since`).

    With `Scene.digest` a run tells from them what became of the scenes that it used: unchanged, corrected, withdrawn.
    """
    statement = select(Scene).where(Scene.id == any_(literal(list(ids), ARRAY(Uuid))))
    return list(session.scalars(statement.order_by(Scene.acquired_at, Scene.external_id, Scene.id)))


def scene_refs(session: Session, scenes: Iterable[Scene]) -> list[SceneRef]:
    """What scenes of any sources are read by, in their order."""
    # Sources are few, and the session keeps those it has met.
    return [scene_ref(session.get_one(Source, scene.source_id), scene) for scene in scenes]


def scene_ref(source: Source, scene: Scene) -> SceneRef:
    """What a scene is read by, without the database; local hrefs made absolute from where the source lies now."""
    # Scenes that the first version took in do not say of what kind their mask is.
    kind = scene.assets.get(MASK, {}).get("kind") or configuration_of(source).mask_kind or MaskKind.scl
    return reference(
        scene.id,
        scene.external_id,
        scene.acquired_at,
        scene.assets,
        MaskKind(kind),
        base=base_of(source.kind, source.location),
        platform=scene.platform,
        properties=scene.properties,
        bounds=from_database(scene.footprint).bounds,
        digest=scene.digest,
        sensor=scene.sensor or "",
    )
