"""When the versions of the layers are in force: the same as `service.versions_in_force`, for all days at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.boundaries.models import Layer, LayerVersion, VersionKind, VersionStatus

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Period:
    """Days from the first to the last, both included."""

    first: date
    last: date

    def __contains__(self, on: date) -> bool:
        return self.first <= on <= self.last

    def meets(self, other: Period) -> bool:
        """Whether they share a day."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Version:
    """A confirmed version.

    Attributes:
        periods: when it is in force, in order.
    """

    id: UUID
    layer: Layer
    number: int
    kind: VersionKind
    valid_from: date
    accuracy_m: float | None
    periods: tuple[Period, ...]

    def is_in_force(self, on: date) -> bool:
        """Whether it is on a day."""
        return any(on in period for period in self.periods)


@dataclass(frozen=True)
class Calendar:
    """All confirmed versions with their periods."""

    versions: dict[UUID, Version] = field(default_factory=dict)

    def meeting(self, period: Period) -> list[Version]:
        """Those in force on some day of a period."""
        return [one for one in self.versions.values() if any(period.meets(part) for part in one.periods)]

    def on(self, day: date) -> dict[Layer, list[Version]]:
        """By layer, in order of their numbers, those in force on a day."""
        found: dict[Layer, list[Version]] = {}
        for version in sorted(self.versions.values(), key=lambda one: (one.layer, one.number)):
            if version.is_in_force(day):
                found.setdefault(version.layer, []).append(version)
        return found


def load_calendar(session: Session) -> Calendar:
    """The calendar of all layers. A day before the first divisions takes these: somebody must answer for a finding."""
    rows = list(session.scalars(select(LayerVersion).where(LayerVersion.status == VersionStatus.confirmed)))
    versions = {}
    for layer in Layer:
        of_layer = [row for row in rows if row.layer is layer]
        wholes = sorted(
            (row for row in of_layer if row.kind is VersionKind.whole), key=lambda row: (row.valid_from, row.number)
        )
        held = _held(wholes, from_the_first=layer is Layer.divisions)
        for row in of_layer:
            periods = held[row.id] if row.kind is VersionKind.whole else _of_addition(row, wholes, held)
            versions[row.id] = Version(
                row.id, row.layer, row.number, row.kind, row.valid_from, row.accuracy_m, tuple(periods)
            )
    return Calendar(versions)


def _held(wholes: list[LayerVersion], *, from_the_first: bool) -> dict[UUID, list[Period]]:
    """Each whole version holds until a later one begins; one that begins on the same day replaces it outright."""
    held: dict[UUID, list[Period]] = {row.id: [] for row in wholes}
    for index, row in enumerate(wholes):
        following = wholes[index + 1].valid_from if index + 1 < len(wholes) else None
        last = following - DAY if following else date.max
        if row.valid_from <= last:
            held[row.id] = [Period(row.valid_from, last)]
    if from_the_first and wholes:
        first = next(row for row in wholes if held[row.id])
        held[first.id] = [Period(date.min, held[first.id][0].last)]
    return held


def _of_addition(row: LayerVersion, wholes: list[LayerVersion], held: dict[UUID, list[Period]]) -> list[Period]:
    """An addition holds on the days of whole versions with a smaller number, and before the first."""
    spans = [period for whole in wholes if whole.number < row.number for period in held[whole.id]]
    begins = wholes[0].valid_from if wholes else None
    if begins is None:
        spans.append(Period(date.min, date.max))
    elif begins > date.min:
        spans.append(Period(date.min, begins - DAY))
    return joined(Period(max(span.first, row.valid_from), span.last) for span in spans if span.last >= row.valid_from)


def joined(periods: Iterable[Period]) -> list[Period]:
    """Periods in order, those that follow on each other made one."""
    found: list[Period] = []
    for period in sorted(periods, key=lambda one: one.first):
        if found and (found[-1].last == date.max or period.first <= found[-1].last + DAY):
            found[-1] = Period(found[-1].first, max(found[-1].last, period.last))
        else:
            found.append(period)
    return found
