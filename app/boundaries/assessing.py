"""One change against what it touches: its figures, and the law's decision on each day that matters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any
from uuid import UUID

import shapely
from shapely.geometry.base import BaseGeometry

from app.boundaries.grounds import Feature
from app.boundaries.law.decision import Decision, Facts, Part, decide
from app.boundaries.law.table import Rule, RuleTable
from app.boundaries.law.words import Told, chinese, english
from app.boundaries.measuring import area_m2, clipped, contact_m, cut, union_of
from app.boundaries.models import Establishment, Layer, Severity, Verdict
from app.boundaries.periods import DAY, Calendar, Period
from app.boundaries.vocabulary import RESTRICTING


@dataclass(frozen=True)
class Subject:
    """What is judged.

    Attributes:
        geometry: valid, EPSG:4490.
        last_clear_on: day of the last clear view before; the change happened after it, up to `first_seen_on`.
        activity: code of the activity (detectors.taxonomy); None: not known.
        pixel_m: edge of a pixel of the imagery; None: not known.
        min_area_m2: the smallest area that the plan looks for; it applies to the part inside.
    """

    geometry: BaseGeometry
    first_seen_on: date
    last_clear_on: date | None
    activity: str | None = None
    pixel_m: float | None = None
    min_area_m2: float | None = None

    @property
    def period(self) -> Period:
        """When it can have happened; without a clear view before, only the day of the image is looked at."""
        before = self.last_clear_on
        first = before + DAY if before is not None and before < self.first_seen_on else self.first_seen_on
        return Period(first, self.first_seen_on)


@dataclass(frozen=True)
class Touch:
    """A feature and what of the change lies in it.

    Attributes:
        subject: the change. whole: whether the feature covers all of it.
        contact_m: length of the feature's border inside it.
    """

    feature: Feature
    subject: BaseGeometry
    whole: bool
    area_m2: float
    contact_m: float

    @cached_property
    def near(self) -> BaseGeometry:
        """The feature around the change."""
        return clipped(self.feature.geometry, self.subject)

    @cached_property
    def piece(self) -> BaseGeometry:
        """The part inside."""
        return self.subject if self.whole else cut(self.near, self.subject)


@dataclass(frozen=True)
class Overlay:
    """How a polygon was judged; plain data, ready for the columns of a detection.

    Attributes:
        unit_areas: largest first: unit_id, code, name, area_m2, share.
        unit_ids: the units of `unit_areas`; empty outside the province.
        lead_unit_id: the one with the largest part, the smaller code at a tie.
        overlaps: by layer, largest first: feature_id, version_id, version, layer, ground, code, name, category, level,
            area_m2, share, valid_from, valid_to, established_on; of permits also holder, document, restricted_share.
        verdict_ground, verdict_ground_zh: why, in words.
        establishment: None where it cannot be told.
        redline_distance_m: 0 inside; None where no red line was in force.
        verdicts: where the verdict was not the same over the time in which the change can have happened: one for each
            period, from, to, verdict, severity, rule, establishment, ground, ground_zh, versions, overlaps.
        judged_by: the day, the interval, the versions of each layer, the rule set, the rule that decided, and by class
            of ground what lies inside and what the law says of it.
    """

    area_m2: float
    unit_areas: list[dict[str, Any]]
    unit_ids: list[UUID]
    lead_unit_id: UUID | None
    overlaps: list[dict[str, Any]]
    verdict: Verdict
    verdict_ground: str
    verdict_ground_zh: str
    severity: Severity
    establishment: Establishment | None
    judged_by: dict[str, Any]
    redline_distance_m: float | None = None
    verdicts: list[dict[str, Any]] = field(default_factory=list)

    def columns(self) -> dict[str, Any]:
        """Values of the columns of a detection."""
        return {name: getattr(self, name) for name in COLUMNS}

    def to_json(self) -> dict[str, Any]:
        """The whole overlay as plain JSON."""
        return {
            **self.columns(),
            "area_m2": self.area_m2,
            "lead_unit_id": str(self.lead_unit_id) if self.lead_unit_id else None,
            "verdict": self.verdict.value,
            "severity": self.severity.value,
            "establishment": self.establishment.value if self.establishment else None,
        }


COLUMNS = (
    "lead_unit_id",
    "unit_areas",
    "overlaps",
    "verdict",
    "verdict_ground",
    "verdict_ground_zh",
    "severity",
    "establishment",
    "redline_distance_m",
    "verdicts",
    "judged_by",
)


class Law:
    """What one batch is judged by: the table, and the versions in force by day."""

    def __init__(self, table: RuleTable, calendar: Calendar) -> None:
        self.table = table
        self.calendar = calendar
        self._on: dict[date, tuple[dict[str, Any], bool]] = {}

    def versions(self, on: date) -> dict[str, Any]:
        """By layer, the version in force on a day, with how many additions to it, and up to which number."""
        return self._of(on)[0]

    def has_layers(self, on: date) -> bool:
        """Whether a layer that restricts anything was in force on a day."""
        return self._of(on)[1]

    def _of(self, on: date) -> tuple[dict[str, Any], bool]:
        if on not in self._on:
            found = self.calendar.on(on)
            told: dict[str, Any] = {}
            for layer, versions in sorted(found.items()):
                first, *more = versions
                told[layer.value] = {
                    "version_id": str(first.id),
                    "number": first.number,
                    "valid_from": first.valid_from.isoformat(),
                }
                if more:
                    # Thousands, in time; the number pins them down, and those touched stand among the overlaps.
                    told[layer.value]["additions"] = {"count": len(more), "up_to": more[-1].number}
            self._on[on] = told, any(layer in found for layer in RESTRICTING)
        return self._on[on]

    def accuracy_m(self, feature: Feature) -> float:
        """How far a feature's border may lie from the true one."""
        told = feature.version.accuracy_m
        return self.table.parameters.accuracy_m[feature.layer] if told is None else told


class Assessment:
    """A change with all that it touches over the time in which it can have happened."""

    def __init__(self, subject: Subject, area: float, touches: Sequence[Touch], law: Law, on: date | None) -> None:
        self.subject = subject
        self.area_m2 = area
        self.law = law
        self.on = on or subject.first_seen_on
        self.period = Period(on, on) if on else subject.period
        self.touches = touches

    def spans(self) -> list[Period]:
        """The time cut at each day on which something else is in force for this change, in order."""
        bounding = [touch.feature for touch in self.touches if touch.feature.layer is not Layer.divisions]
        starts = {self.period.first}
        for feature in bounding:
            for part in feature.periods:
                starts.add(part.first)
                if part.last < date.max:
                    starts.add(part.last + DAY)
        starts |= self.law.table.days_of_change(frozenset(feature.ground for feature in bounding))
        days = sorted(day for day in starts if day in self.period)
        return [
            Period(day, following - DAY)
            for day, following in zip(days, [*days[1:], self.period.last + DAY], strict=True)
        ]

    def touching(self, on: date, *layers: Layer) -> list[Touch]:
        """What of some layers was in force on a day, largest first."""
        found = [one for one in self.touches if one.feature.layer in layers and one.feature.is_in_force(on)]
        return sorted(
            found,
            key=lambda one: (
                one.feature.layer.value,
                -one.area_m2,
                one.feature.code,
                one.feature.category or "",
                one.feature.id,
            ),
        )

    def judged(self, on: date) -> Judged:
        """The decision by what was in force on a day."""
        restricting = self.touching(on, *RESTRICTING)
        permits = self.touching(on, Layer.permits)
        grounds: dict[str, list[Touch]] = {}
        for touch in restricting:
            grounds.setdefault(touch.feature.ground, []).append(touch)
        covering = _Covering(permits)
        parts = [self._part(touches, covering) for touches in grounds.values()]
        facts = Facts(
            on=on,
            first_seen_on=self.subject.first_seen_on,
            last_clear_on=self.subject.last_clear_on,
            activity=self.subject.activity,
            area_m2=self.area_m2,
            pixel_m=self.subject.pixel_m,
            min_area_m2=self.subject.min_area_m2,
            has_layers=self.law.has_layers(on),
            permitted=covering.area_within(None) / self.area_m2 if permits and not parts else 0.0,
            together=lambda: self._part(restricting, covering),
        )
        decision = decide(self.law.table, parts, facts)
        # A permit is measured against the part that needs one, or the whole where nothing does.
        needing = {
            outcome.part.ground
            for outcome in decision.outcomes
            if outcome.rule and outcome.rule.verdict in (Verdict.prohibited, Verdict.needs_recognition)
        }
        needed = [touch.piece for ground in needing for touch in grounds[ground]] if permits else []
        restricted = union_of(needed) if needed else self.subject.geometry
        overlaps = [self._overlap(touch) for touch in restricting]
        overlaps += [self._permit(touch, restricted) for touch in permits]
        names = {ground: sorted({touch.feature.name for touch in touches}) for ground, touches in grounds.items()}
        return Judged(on, decision, overlaps, Told(names, overlaps[len(restricting) :], self.area_m2))

    def _part(self, touches: Sequence[Touch], covering: _Covering) -> Part:
        first = touches[0].feature
        whole = next((touch for touch in touches if touch.whole), None)
        if whole is not None:
            area, contact = self.area_m2, 0.0
        elif len(touches) == 1:
            area, contact = touches[0].area_m2, touches[0].contact_m
        else:
            area = area_m2(union_of([touch.piece for touch in touches]))
            contact = contact_m([touch.near for touch in touches], self.subject.geometry)
        established = frozenset(day for touch in touches for day in touch.feature.established)
        return Part(
            ground=first.ground,
            area_m2=min(area, self.area_m2),
            contact_m=contact,
            accuracy_m=max(self.law.accuracy_m(touch.feature) for touch in touches),
            established=established,
            covered=lambda rule: covering.area_within(lambda: union_of([one.piece for one in touches]), rule) / area,
        )

    def _overlap(self, touch: Touch) -> dict[str, Any]:
        feature = touch.feature
        return {
            "feature_id": str(feature.id),
            "version_id": str(feature.version.id),
            "version": feature.version.number,
            "layer": feature.layer.value,
            "ground": feature.ground,
            "code": feature.code,
            "name": feature.name,
            "category": feature.category,
            "level": feature.level,
            "area_m2": touch.area_m2,
            "share": min(touch.area_m2 / self.area_m2, 1.0),
            "valid_from": feature.valid_from.isoformat(),
            "valid_to": feature.valid_to.isoformat() if feature.valid_to else None,
            "established_on": feature.established_on.isoformat() if feature.established_on else None,
        }

    def _permit(self, touch: Touch, restricted: BaseGeometry) -> dict[str, Any]:
        within = area_m2(shapely.intersection(touch.piece, restricted))
        return self._overlap(touch) | {
            "holder": touch.feature.holder,
            "document": touch.feature.document,
            "restricted_share": min(within / area_m2(restricted), 1.0),
        }

    def unit_areas(self, units: Mapping[str, UUID]) -> list[dict[str, Any]]:
        """The units on whose ground it stands, largest first."""
        return [
            {
                "unit_id": str(units[touch.feature.code]),
                "code": touch.feature.code,
                "name": touch.feature.name,
                "area_m2": touch.area_m2,
                "share": min(touch.area_m2 / self.area_m2, 1.0),
            }
            for touch in self.touching(self.on, Layer.divisions)
        ]

    @cached_property
    def is_in_redline(self) -> bool:
        """Whether some of it lies inside a red line in force on the day."""
        return bool(self.touching(self.on, Layer.redlines))


class _Covering:
    """The permits of one day, and what those of some kinds cover together."""

    def __init__(self, permits: Sequence[Touch]) -> None:
        self._permits = permits

    def area_within(self, ground: Callable[[], BaseGeometry] | None, rule: Rule | None = None) -> float:
        """Area of some ground, or of the whole change, that permits cover which a rule admits, in m²."""
        pieces = [one.piece for one in self._permits if rule is None or rule.admits(one.feature.category)]
        if not pieces:
            return 0.0
        covered = union_of(pieces)
        return area_m2(covered if ground is None else shapely.intersection(covered, ground()))


@dataclass(frozen=True)
class Judged:
    """A change judged by one day."""

    on: date
    decision: Decision
    overlaps: list[dict[str, Any]]
    told: Told

    @property
    def rule(self) -> Rule | None:
        """The rule that decided."""
        return self.decision.rule

    def words(self) -> tuple[str, str]:
        """English, Chinese."""
        return english(self.decision, self.told), chinese(self.decision, self.told)

    def grounds(self) -> list[dict[str, Any]]:
        """By class of ground, what lies inside and what the law says of it."""
        return [
            {
                "ground": outcome.part.ground,
                "area_m2": outcome.part.area_m2,
                "share": outcome.part.area_m2 / self.told.area_m2,
                "contact_m": outcome.part.contact_m,
                "accuracy_m": outcome.part.accuracy_m,
                "verdict": outcome.verdict.value,
                "severity": outcome.severity.value,
                "why": outcome.why.value,
                "rule": outcome.rule.code if outcome.rule else None,
                "permitted_share": outcome.covered,
                "establishment": outcome.establishment.value if outcome.establishment else None,
                "established": sorted(day.isoformat() for day in outcome.part.established),
            }
            for outcome in self.decision.outcomes
        ]

    def in_period(self, period: Period, versions: dict[str, Any]) -> dict[str, Any]:
        """As an entry of `Overlay.verdicts`."""
        words, words_zh = self.words()
        found = self.decision.establishment
        return {
            "from": period.first.isoformat(),
            "to": period.last.isoformat(),
            "verdict": self.decision.verdict.value,
            "severity": self.decision.severity.value,
            "rule": self.rule.code if self.rule else None,
            "establishment": found.value if found else None,
            "ground": words,
            "ground_zh": words_zh,
            "versions": versions,
            "overlaps": self.overlaps,
        }
