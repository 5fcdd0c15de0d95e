"""The `datetime` of a request: a moment or an interval, and which features it asks for (OGC 17-069r4, 7.15.4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, and_, any_, false, func, or_, select, true
from sqlalchemy.orm import Session

from app.boundaries.models import BoundaryFeature, Layer, LayerVersion, PermitRevocation, VersionKind, VersionStatus
from app.boundaries.service import versions_in_force
from app.foundation.errors import BadRequest
from app.foundation.time import SHANGHAI, legal_day, utc_now
from app.maps.collections import Collection, Kind

_WORDS = (
    "datetime takes a date (2024-06-30), an instant with its offset (2024-06-30T00:00:00Z), or an interval of two of "
    "them with a slash, of which one may be open (2024-01-01/..)"
)


@dataclass(frozen=True)
class Moment:
    """From `first` to `last`, both included; a day, an instant, or None where the interval is open."""

    first: date | datetime | None
    last: date | datetime | None


def parse_moment(text: str) -> Moment:
    """Raises: BadRequest: it is neither a date, an instant nor an interval of them."""
    ends = text.split("/")
    if len(ends) == 1:
        only = _parse(text)
        return Moment(only, only)
    if len(ends) != 2:
        raise BadRequest(f"{_WORDS}.")
    first, last = (None if end in ("", "..") else _parse(end) for end in ends)
    if first is not None and last is not None and _instant(first) > _instant(last, end=True):
        raise BadRequest("The interval of datetime ends before it begins.")
    return Moment(first, last)


def _parse(text: str) -> date | datetime:
    try:
        if len(text) == 10:
            return date.fromisoformat(text)
        # A plus sign that was not escaped arrives as a blank.
        instant = datetime.fromisoformat(text.replace(" ", "+"))
        if instant.tzinfo is not None:
            legal_day(instant)
            return instant
    except (ValueError, OverflowError):
        pass
    raise BadRequest(f"{_WORDS}.")


def _day(value: date | datetime) -> date:
    return legal_day(value) if isinstance(value, datetime) else value


def _instant(value: date | datetime, *, end: bool = False) -> datetime:
    """A day's first instant, or the last that PostgreSQL tells apart; in Asia/Shanghai."""
    if isinstance(value, datetime):
        return value
    return datetime.combine(value, time.max if end else time.min, SHANGHAI)


def condition(session: Session, collection: Collection, moment: Moment | None) -> ColumnElement[bool]:
    """The condition that a row of a collection is of a moment.

    Of boundaries: in force on any day of it, today where none is asked for. Of the others: their date or instant lies
    in it; a day is a day of Asia/Shanghai.
    """
    if collection.layer is not None:
        today = legal_day(utc_now())
        first, last = (moment.first, moment.last) if moment else (today, today)
        return in_force_between(
            session,
            collection.layer,
            date.min if first is None else _day(first),
            date.max if last is None else _day(last),
        )
    if moment is None:
        return true()
    assert collection.moment
    column = collection.queryables[collection.moment]
    ends: list[ColumnElement[bool]] = []
    if moment.first is not None:
        ends.append(column.expression >= (_day(moment.first) if column.kind is Kind.day else _instant(moment.first)))
    if moment.last is not None:
        last = _day(moment.last) if column.kind is Kind.day else _instant(moment.last, end=True)
        ends.append(column.expression <= last)
    return and_(true(), *ends)


def in_force_between(session: Session, layer: Layer, first: date, last: date) -> ColumnElement[bool]:
    """The condition that a feature of a layer was in force on any day from `first` to `last`, both included.

    For one day it is `app.boundaries.service.in_force`, with the versions looked up before: the plan then knows them.
    """
    feature = BoundaryFeature
    periods: list[ColumnElement[bool]] = []
    for version, start, end in version_periods(session, layer, first, last):
        period = [
            feature.version_id == version,
            feature.valid_from <= end,
            or_(feature.valid_to.is_(None), feature.valid_to >= start),
        ]
        if layer is Layer.permits:
            # A permit holds up to the day before it was revoked: none is left when that is before the first day.
            revoked = select(PermitRevocation.id).where(
                PermitRevocation.code == feature.code,
                PermitRevocation.revoked_on <= func.greatest(feature.valid_from, start),
            )
            period.append(~revoked.exists())
        periods.append(and_(*period))
    return or_(false(), *periods)


def in_force_on(layer: Layer, on: date) -> ColumnElement[bool]:
    """The condition that a feature of a layer is in force on a day, in one statement with the look-up of the versions.

    The same as `app.boundaries.service.in_force`, but the versions are found once, before the first row is looked at.
    """
    feature = BoundaryFeature
    versions = func.array(versions_in_force(layer, on).scalar_subquery(), type_=ARRAY(Uuid))
    conditions: list[ColumnElement[bool]] = [
        feature.layer == layer,
        feature.version_id == any_(versions),
        feature.valid_from <= on,
        or_(feature.valid_to.is_(None), feature.valid_to >= on),
    ]
    if layer is Layer.permits:
        revoked = select(PermitRevocation.id).where(
            PermitRevocation.code == feature.code, PermitRevocation.revoked_on <= on
        )
        conditions.append(~revoked.exists())
    return and_(*conditions)


def version_periods(session: Session, layer: Layer, first: date, last: date) -> list[tuple[UUID, date, date]]:
    """The versions in force on any day from `first` to `last`, with each period in which they were.

    The same rule as `app.boundaries.service.versions_in_force`, between the days on which the answer can change.
    """
    rows: list[Any] = list(
        session.execute(
            select(LayerVersion.id, LayerVersion.number, LayerVersion.kind, LayerVersion.valid_from).where(
                LayerVersion.layer == layer,
                LayerVersion.status == VersionStatus.confirmed,
                LayerVersion.valid_from <= last,
            )
        )
    )
    starts = sorted({first, *(row.valid_from for row in rows if row.valid_from > first)})
    periods: dict[UUID, list[tuple[date, date]]] = {}
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        end = last if following is None else following - timedelta(days=1)
        begun = [row for row in rows if row.valid_from <= start]
        wholes = [row for row in begun if row.kind is VersionKind.whole]
        whole = max(wholes, key=lambda row: (row.valid_from, row.number), default=None)
        for row in begun:
            added = row.kind is VersionKind.addition and row.number > (whole.number if whole else 0)
            if row is whole or added:
                known = periods.setdefault(row.id, [])
                if known and known[-1][1] + timedelta(days=1) == start:
                    known[-1] = (known[-1][0], end)
                else:
                    known.append((start, end))
    return [(version, *period) for version, listed in periods.items() for period in listed]
