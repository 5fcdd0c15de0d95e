"""What a version of a layer changes: feature by feature, county by county, and whether its features fit together."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import count
from typing import Any, cast
from uuid import UUID

import shapely
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.boundaries.county_areas import Findings, Named, Progress, Sides, county_areas
from app.boundaries.ground_change import as_array
from app.boundaries.models import LayerVersion, VersionKind, VersionStatus
from app.boundaries.service import versions_in_force
from app.boundaries.units import LEAST_CONTACT_M2, newest_divisions
from app.boundaries.version_schemas import (
    ChangedFeature,
    ChangedFeatures,
    ComparedVersion,
    Comparison,
    CountyChange,
    FeatureGap,
    FeatureOverlap,
    FeatureRef,
    Gaps,
    Outside,
    OutsideFeature,
    Overlaps,
)
from app.boundaries.versions import check_undecided, count_confirmed, lock_undecided
from app.foundation.binary_rows import fetch_binary, stream_binary
from app.foundation.geometry import geodesic_areas_m2
from app.foundation.time import utc_now

# Of each list, the largest are kept; how many there are is told beside them.
MOST_LISTED = 200
_BATCH = 500

_JOINED = """
    from (select * from boundary_features where version_id = any(cast(%(before)s as uuid[]))) b
    full join (select * from boundary_features where version_id = any(cast(%(after)s as uuid[]))) a
        on a.code = b.code
        and (case when %(by_category)s then coalesce(a.category, '') else '' end)
            = (case when %(by_category)s then coalesce(b.category, '') else '' end)
    left join layer_versions bv on bv.id = b.version_id
    left join layer_versions av on av.id = a.version_id
"""
# A feature that states no first day of its own has its version's.
_TOLD = """
    (b.name, b.level, b.category, b.holder, b.document, b.valid_to, b.established_on, b.attributes,
        nullif(b.valid_from, bv.valid_from))
    is not distinct from
    (a.name, a.level, a.category, a.holder, a.document, a.valid_to, a.established_on, a.attributes,
        nullif(a.valid_from, av.valid_from))
"""
_COUNTS = f"""
    select count(*) filter (where kind = 'unchanged') as unchanged, count(*) filter (where kind = 'added') as added,
        count(*) filter (where kind = 'removed') as removed, count(*) filter (where kind = 'attributes') as attributes
    from (
        select case
            when b.id is null then 'added'
            when a.id is null then 'removed'
            when a.digest = b.digest then 'unchanged'
            when a.geom = b.geom then case when {_TOLD} then 'unchanged' else 'attributes' end
            else 'ground' end as kind
        {_JOINED}
    ) k
"""  # noqa: S608  # constants
_ONE_SIDED = """
    select coalesce(a.code, b.code) as code, coalesce(a.category, b.category) as category,
        coalesce(a.name, b.name) as name, b.area_m2 as before_m2, a.area_m2 as after_m2
    {joined}
    where {condition}
    order by coalesce(a.area_m2, b.area_m2) desc, code limit %(most)s
"""
_SAME_GROUND = f"(a.digest = b.digest) is not true and a.geom = b.geom and not {_TOLD}"
_LISTS = {
    "added": _ONE_SIDED.format(joined=_JOINED, condition="b.id is null"),
    "removed": _ONE_SIDED.format(joined=_JOINED, condition="a.id is null"),
    "attributes": _ONE_SIDED.format(joined=_JOINED, condition=_SAME_GROUND),
}
# The pairs first, by a full join, which is never a nested loop, whatever the planner thinks of a table that was just
# filled; then their ground, by key.
_OTHER_GROUND = f"""
    with pairs as materialized (
        select b.id as before_id, a.id as after_id {_JOINED} where (a.digest = b.digest) is not true
    )
    select a.code, a.category, a.name, b.area_m2 as before_m2, a.area_m2 as after_m2,
        ST_AsBinary(b.geom) as before, ST_AsBinary(a.geom) as after
    from pairs
    join boundary_features b on b.id = pairs.before_id
    join boundary_features a on a.id = pairs.after_id
    where not a.geom = b.geom
"""  # noqa: S608  # constants
_OUTSIDE = """
    select code, category, name, area_m2 from boundary_features
    where version_id = any(cast(%(after)s as uuid[])) and unit_ids = '{}' order by area_m2 desc, code
"""


def compare(session: Session, version: LayerVersion, progress: Progress | None = None) -> dict[str, Any]:
    """Work out what a version changes and keep it in `version.comparison`, in the caller's transaction, which must
    see all.

    It is laid beside the newest whole version, with its additions, that was confirmed and counts on its first day. An
    addition is laid over them: it removes nothing.

    Returns:
        A `version_schemas.Comparison` as JSON.

    Raises:
        Conflict: the version was decided already; what was decided on stays.
    """
    check_undecided(version)
    # Told first: a version that is confirmed while this works makes the comparison out of date, and nothing waits.
    confirmed_versions = count_confirmed(session, version.layer)
    base = _base(session, version)
    sides = sides_of(session, version)
    findings = Findings()
    counties = county_areas(session, sides, findings=findings, progress=progress)
    comparison = Comparison(
        base=base,
        compared_at=utc_now(),
        confirmed_versions=confirmed_versions,
        before_ids=list(sides.before),
        divisions_id=newest_divisions(session),
        unchanged=0,
        features=[],
        counties=[CountyChange.model_validate(county, from_attributes=True) for county in counties],
        overlaps=_overlaps(findings),
        gaps=_gaps(findings),
        outside=_outside(session, sides, findings),
    )
    comparison.unchanged, comparison.features = _features(session, version, sides)
    lock_undecided(session, version)
    version.comparison = comparison.model_dump(mode="json")
    session.flush()
    return version.comparison


def compared_sides(version: LayerVersion) -> Sides | None:
    """What a version was compared with, and it: as it was then; None when it was not compared, or its features are
    gone.
    """
    if version.comparison is None or version.status is VersionStatus.discarded:
        return None
    before = tuple(Comparison.model_validate(version.comparison).before_ids)
    after = (*before, version.id) if version.kind is VersionKind.addition else (version.id,)
    return Sides(version.layer, before, after)


def sides_of(session: Session, version: LayerVersion) -> Sides:
    """What was in force on the version's first day without it, and with it."""
    in_force = cast("list[UUID]", list(session.scalars(versions_in_force(version.layer, version.valid_from))))
    base = [row for row in in_force if row != version.id]
    after = (*base, version.id) if version.kind is VersionKind.addition else (version.id,)
    return Sides(version.layer, tuple(base), after)


def _base(session: Session, version: LayerVersion) -> ComparedVersion | None:
    found = session.scalar(
        select(LayerVersion)
        .where(
            LayerVersion.layer == version.layer,
            LayerVersion.status == VersionStatus.confirmed,
            LayerVersion.kind == VersionKind.whole,
            LayerVersion.valid_from <= version.valid_from,
            LayerVersion.id != version.id,
        )
        .order_by(LayerVersion.valid_from.desc(), LayerVersion.number.desc())
        .limit(1)
    )
    return ComparedVersion.model_validate(found, from_attributes=True) if found else None


def _features(session: Session, version: LayerVersion, sides: Sides) -> tuple[int, list[ChangedFeatures]]:
    """How many features are unchanged, and the others by what became of them."""
    only_this = Sides(sides.layer, sides.before, (version.id,))
    parameters = only_this.parameters
    counts = fetch_binary(session, _COUNTS, parameters)[0]._asdict()
    if version.kind is VersionKind.addition:
        counts["removed"] = 0
    kinds = []
    for kind, statement in _LISTS.items():
        rows = fetch_binary(session, statement, parameters | {"most": MOST_LISTED}) if counts[kind] else []
        listed = [_one_sided(row, kind) for row in rows]
        kinds.append(ChangedFeatures(kind=kind, count=counts[kind], largest=listed))
    return counts["unchanged"], kinds + _redrawn(session, parameters)


def _one_sided(row: Any, kind: str) -> ChangedFeature:
    before, after = row.before_m2 or 0.0, row.after_m2 or 0.0
    return ChangedFeature(
        code=row.code,
        category=row.category,
        name=row.name,
        before_m2=before,
        after_m2=after,
        gained_m2=after if kind == "added" else 0.0,
        lost_m2=before if kind == "removed" else 0.0,
    )


def _redrawn(session: Session, parameters: dict[str, Any]) -> list[ChangedFeatures]:
    """Features with other ground: grown, shrunk, or both; less than `LEAST_CONTACT_M2` is the noise of drawing."""
    counts = dict.fromkeys(("grown", "shrunk", "redrawn"), 0)
    largest: dict[str, list[tuple[float, int, ChangedFeature]]] = {kind: [] for kind in counts}
    turn = count()
    for batch in stream_binary(session, _OTHER_GROUND, parameters, _BATCH):
        for row, gained, lost in zip(batch, *_gained_and_lost(batch), strict=True):
            kind = _kind(gained, lost)
            counts[kind] += 1
            feature = ChangedFeature(
                code=row.code,
                category=row.category,
                name=row.name,
                before_m2=row.before_m2,
                after_m2=row.after_m2,
                gained_m2=gained,
                lost_m2=lost,
            )
            entry = (gained + lost, -next(turn), feature)
            (heapq.heappush if len(largest[kind]) < MOST_LISTED else heapq.heappushpop)(largest[kind], entry)
    return [
        ChangedFeatures(kind=kind, count=counts[kind], largest=[row for *_, row in sorted(largest[kind], reverse=True)])
        for kind in counts
    ]


def _gained_and_lost(batch: Sequence[Any]) -> tuple[list[float], list[float]]:
    before = shapely.from_wkb([row.before for row in batch])
    after = shapely.from_wkb([row.after for row in batch])
    gained = geodesic_areas_m2(shapely.difference(after, before))
    lost = geodesic_areas_m2(shapely.difference(before, after))
    return gained.tolist(), lost.tolist()


def _kind(gained: float, lost: float) -> str:
    if lost < LEAST_CONTACT_M2 <= gained:
        return "grown"
    if gained < LEAST_CONTACT_M2 <= lost:
        return "shrunk"
    return "redrawn"


def _overlaps(findings: Findings) -> Overlaps:
    found = sorted(findings.overlaps.values(), key=lambda row: (-row[2], row[0].code, row[1].code))
    listed = [
        FeatureOverlap(first=_ref(first), second=_ref(second), area_m2=area, of_one_area=first.code == second.code)
        for first, second, area in found[:MOST_LISTED]
    ]
    return Overlaps(count=len(found), largest=listed)


def _gaps(findings: Findings) -> Gaps:
    areas = geodesic_areas_m2(as_array(list(findings.gaps.values())))
    measured = zip(findings.gaps.values(), areas.tolist(), strict=True)
    found = sorted(measured, key=lambda row: (-row[1], row[0].bounds))
    listed = []
    for gap, area in found[:MOST_LISTED]:
        point = gap.representative_point()
        listed.append(FeatureGap(area_m2=area, longitude=round(point.x, 7), latitude=round(point.y, 7)))
    return Gaps(count=len(found), largest=listed)


def _outside(session: Session, sides: Sides, findings: Findings) -> Outside:
    """What lies in no county. A millionth of a feature is the difference of two ways of measuring it."""
    found = [
        OutsideFeature(code=row.code, category=row.category, name=row.name, area_m2=row.area_m2)
        for row in fetch_binary(session, _OUTSIDE, {"after": list(sides.after)})
    ]
    known = {(row.code, row.category) for row in found}
    for named, whole, within in findings.crossing.values():
        if whole - within > max(LEAST_CONTACT_M2, 1e-6 * whole) and (named.code, named.category) not in known:
            found.append(
                OutsideFeature(code=named.code, category=named.category, name=named.name, area_m2=whole - within)
            )
    found.sort(key=lambda row: (-row.area_m2, row.code))
    return Outside(count=len(found), area_m2=sum(row.area_m2 for row in found), largest=found[:MOST_LISTED])


def _ref(named: Named) -> FeatureRef:
    return FeatureRef(id=named.id, code=named.code, category=named.category, name=named.name)
