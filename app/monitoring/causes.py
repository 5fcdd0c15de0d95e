"""What makes detections be judged again: boundaries, permits and rules that changed, and days that passed.

Nobody tells this room of a change: it looks at what the boundaries hold and notes each cause once, under a key that
the database lets in once (`Rejudgement`). So a cause is never lost, whoever changed the ground and by which way.

A cause is known by `because_of`: `redlines version 2`, `redlines feature HX-1` (its own first or last day passed), the
code of a permit, the version of the rules (`2026-1 from 2026-03-15`: a rule of theirs began or ended), the id of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, cast, exists, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from app.boundaries.models import (
    BoundaryFeature,
    Layer,
    LayerVersion,
    PermitRevocation,
    RuleSet,
    VersionKind,
    VersionStatus,
)
from app.boundaries.rule_sets import table_of
from app.boundaries.service import versions_in_force
from app.boundaries.vocabulary import RESTRICTING
from app.foundation.identity import new_id
from app.foundation.time import SHANGHAI, legal_day
from app.monitoring.models import Detection, Judgement, JudgementCause, Rejudgement, Run, RunStatus

Cause = JudgementCause
# Divisions say who answers for ground, not what is allowed there: runs put detections in today's places.
_JUDGING = (*RESTRICTING, Layer.permits)
_VERSION, _FEATURE, _FROM = " version ", " feature ", " from "
# What was judged while a change was being committed did not see it yet.
LONGEST_TRANSACTION = timedelta(hours=1)


@dataclass(frozen=True)
class _Found:
    """A cause, from which day on it is otherwise, and since when that is known."""

    cause: JudgementCause
    because_of: str
    on: date
    known_at: datetime


def note_causes(session: Session, today: date) -> int:
    """Note every cause that counts by a day and is not noted yet; how many. The session must see all.

    Done again, it notes nothing twice.
    """
    noted = select(Rejudgement.cause, Rejudgement.because_of, Rejudgement.on)
    # Of runs, which are many, none is found that was noted.
    rows = session.execute(noted.where(Rejudgement.cause != Cause.published))
    known = {(row.cause, row.because_of, row.on) for row in rows}
    switched = Cause.rules_changed, session.scalar(select(RuleSet.version).where(RuleSet.is_active))
    new = {
        key: found
        for found in _all(session, today)
        if (key := (found.cause, found.because_of, found.on)) not in known or key[:2] == switched
    }
    for found in new.values():
        row = insert(Rejudgement).values(
            id=new_id(),
            cause=found.cause,
            because_of=found.because_of,
            on=found.on,
            # What is judged on a day is judged by what counts that day, however early it was known.
            requested_at=max(found.known_at, datetime.combine(found.on, time(), SHANGHAI)),
        )
        # The same rules, switched off and on again within a day, are looked at again.
        again = {"requested_at": row.excluded.requested_at, "reached_id": None, "done_at": None}
        session.execute(row.on_conflict_do_update(constraint="uq_rejudgements_cause_because_of_on", set_=again))
    return len(new)


def _all(session: Session, today: date) -> Iterator[_Found]:
    yield from _versions(session, today)
    for layer in _JUDGING:
        yield from _days(session, layer, today)
    revoked = select(PermitRevocation).where(PermitRevocation.revoked_on <= today)
    for row in session.scalars(revoked):
        yield _Found(Cause.permit_revoked, row.code, row.revoked_on, row.recorded_at)
    yield from _rules(session, today)
    # What a run published was judged by the day of the change; a later law may say otherwise today.
    noted = exists().where(Rejudgement.cause == Cause.published, Rejudgement.because_of == cast(Run.id, Text))
    published = and_(Run.status == RunStatus.succeeded, Run.detections_new + Run.detections_grown > 0, ~noted)
    for run_id, finished_at in session.execute(select(Run.id, Run.finished_at).where(published)):
        if finished_at is not None:
            yield _Found(Cause.published, str(run_id), legal_day(finished_at), finished_at)


def _versions(session: Session, today: date) -> Iterator[_Found]:
    confirmed = select(LayerVersion).where(
        LayerVersion.layer.in_(_JUDGING),
        LayerVersion.status == VersionStatus.confirmed,
        LayerVersion.kind == VersionKind.whole,
        LayerVersion.valid_from <= today,
    )
    for version in session.scalars(confirmed.order_by(LayerVersion.layer, LayerVersion.number)):
        cause = Cause.permits_changed if version.layer is Layer.permits else Cause.boundary_changed
        because_of = f"{version.layer}{_VERSION}{version.number}"
        yield _Found(cause, because_of, version.valid_from, _known_at(version))


def _days(session: Session, layer: Layer, today: date) -> Iterator[_Found]:
    """Permits that were added one by one, and first and last days of features that passed since they are known."""
    features = (
        select(BoundaryFeature.code, BoundaryFeature.valid_from, BoundaryFeature.valid_to, LayerVersion)
        .join(LayerVersion, LayerVersion.id == BoundaryFeature.version_id)
        .where(
            BoundaryFeature.layer == layer,
            BoundaryFeature.version_id.in_(versions_in_force(layer, today)),
            or_(
                LayerVersion.kind == VersionKind.addition,
                BoundaryFeature.valid_from > LayerVersion.valid_from,
                BoundaryFeature.valid_to < today,
            ),
        )
    )
    begun, ended = Cause.boundary_changed, Cause.boundary_changed
    if layer is Layer.permits:
        begun, ended = Cause.permit_added, Cause.permit_expired
    for code, valid_from, valid_to, version in session.execute(features):
        because_of = code if layer is Layer.permits else f"{layer}{_FEATURE}{code}"
        known_at = _known_at(version)
        # A whole version is a cause itself, with all the days that had passed when it came.
        if valid_from <= today and (version.kind is VersionKind.addition or valid_from > legal_day(known_at)):
            yield _Found(begun, because_of, valid_from, known_at)
        if valid_to is not None and legal_day(known_at) <= valid_to < today:
            yield _Found(ended, because_of, valid_to + timedelta(days=1), known_at)


def _known_at(version: LayerVersion) -> datetime:
    return version.decided_at or version.imported_at


def _rules(session: Session, today: date) -> Iterator[_Found]:
    """Another set of rules, and days from which the active one has another rule."""
    active = session.scalar(select(RuleSet).where(RuleSet.is_active))
    if active is None:
        return
    last = session.scalar(
        select(Rejudgement.because_of)
        .where(Rejudgement.cause == Cause.rules_changed, ~Rejudgement.because_of.contains(_FROM))
        .order_by(Rejudgement.requested_at.desc(), Rejudgement.id.desc())
        .limit(1)
    )
    if active.version != last:
        yield _Found(Cause.rules_changed, active.version, today, session.scalars(select(func.now())).one())
    rules = table_of(active).rules
    begun = {rule.since for rule in rules} | {rule.until + timedelta(days=1) for rule in rules if rule.until}
    for day in sorted(day for day in begun if legal_day(active.imported_at) < day <= today):
        yield _Found(Cause.rules_changed, f"{active.version}{_FROM}{day}", day, active.imported_at)


def concerned(session: Session, row: Rejudgement) -> ColumnElement[bool]:
    """The condition that a detection stands where a cause changed something that it was not judged by yet."""
    if row.cause is Cause.published:
        return Detection.run_id == UUID(row.because_of)
    if row.cause is Cause.rules_changed and _FROM not in row.because_of:
        return _judged_by_other_rules(row.because_of)
    judged = select(func.max(Judgement.recorded_at)).where(Judgement.detection_id == Detection.id).scalar_subquery()
    news = func.coalesce(judged, Detection.published_at) < row.requested_at + LONGEST_TRANSACTION
    if row.cause is Cause.rules_changed:
        return and_(news, Detection.first_seen_on < row.on)
    return and_(news, _touches(session, row))


def _judged_by_other_rules(version: str) -> ColumnElement[bool]:
    """Whether a detection, or a later judgement of it, goes by another version of the rules."""
    later = exists().where(
        Judgement.detection_id == Detection.id,
        Judgement.overlay["judged_by"]["rules"].astext.is_distinct_from(version),
    )
    return or_(Detection.judged_by["rules"].astext.is_distinct_from(version), later)


def _touches(session: Session, row: Rejudgement) -> ColumnElement[bool]:
    layer, kind, rest = row.because_of.partition(_VERSION)
    if kind and row.cause in (Cause.boundary_changed, Cause.permits_changed):
        return _touches_difference(session, Layer(layer), int(rest))
    if row.cause is Cause.boundary_changed:
        layer, _, code = row.because_of.partition(_FEATURE)
    else:
        layer, code = Layer.permits, row.because_of
    feature = aliased(BoundaryFeature)
    return exists().where(feature.layer == Layer(layer), feature.code == code, *_meets(feature))


def _touches_difference(session: Session, layer: Layer, number: int) -> ColumnElement[bool]:
    """Whether a detection meets a feature that a version has otherwise than what it took the place of, or has not."""
    version = session.scalars(
        select(LayerVersion).where(LayerVersion.layer == layer, LayerVersion.number == number)
    ).one()
    feature, other = aliased(BoundaryFeature), aliased(BoundaryFeature)
    before = _before(session, version)
    here, there = feature.version_id == version.id, feature.version_id.in_(before)
    same = exists().where(
        other.layer == layer,
        other.code == feature.code,
        other.category.is_not_distinct_from(feature.category),
        other.digest == feature.digest,
        or_(and_(here, other.version_id.in_(before)), and_(there, other.version_id == version.id)),
    )
    return exists().where(or_(here, there), *_meets(feature), ~same)


def _before(session: Session, version: LayerVersion) -> list[object]:
    """The versions that were in force together on the first day of a version, had it not come."""
    confirmed = and_(LayerVersion.layer == version.layer, LayerVersion.status == VersionStatus.confirmed)
    whole = session.scalar(
        select(LayerVersion)
        .where(
            confirmed,
            LayerVersion.kind == VersionKind.whole,
            tuple_(LayerVersion.valid_from, LayerVersion.number) < tuple_(version.valid_from, version.number),
        )
        .order_by(LayerVersion.valid_from.desc(), LayerVersion.number.desc())
        .limit(1)
    )
    additions = select(LayerVersion.id).where(
        confirmed,
        LayerVersion.kind == VersionKind.addition,
        LayerVersion.valid_from <= version.valid_from,
        LayerVersion.number.between(whole.number if whole else 0, version.number),
    )
    return [*session.scalars(additions), *([whole.id] if whole else [])]


def _meets(feature: type[BoundaryFeature]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return feature.geom.op("&&")(Detection.geom), func.ST_Intersects(feature.geom, Detection.geom)
