"""The rule table: what a row says, and how one is found for a class of ground, an activity and a day."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cached_property
from hashlib import sha256
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.boundaries.columns import SCENIC_ZONES, WATER_ZONES, ZONES
from app.boundaries.vocabulary import RESTRICTING, Establishment, Layer, PermitKind, Severity, Verdict

REDLINE: Final = "redline"
# Classes of ground that a rule can speak of, with their Chinese names. Within a class it does not matter how its layer
# is cut into features.
GROUNDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        REDLINE: "生态保护红线",
        **ZONES,
        **{code: f"风景名胜区{label}" for code, label in SCENIC_ZONES.items()},
        **{code: f"饮用水水源{label}" for code, label in WATER_ZONES.items()},
        "wetland_national": "国家重要湿地",
        "wetland_provincial": "省级重要湿地",
        "key_function_zone": "重点生态功能区",
        "biodiversity_priority_area": "生物多样性优先区",
    }
)
GROUNDS_ENGLISH: Final[Mapping[str, str]] = MappingProxyType(
    {
        REDLINE: "red line",
        "core_protection": "core protection zone",
        "general_control": "general control zone",
        "reserve_core": "reserve core",
        "reserve_buffer": "reserve buffer",
        "reserve_experimental": "reserve experimental zone",
        "scenic_core": "core scenic zone",
        "scenic_general": "scenic area outside the core",
        "water_grade_1": "first-grade water source zone",
        "water_grade_2": "second-grade water source zone",
        "water_quasi": "quasi-protection water source zone",
        "wetland_national": "wetland of national importance",
        "wetland_provincial": "wetland of provincial importance",
        "key_function_zone": "key ecological function zone",
        "biodiversity_priority_area": "biodiversity priority area",
    }
)
ANY: Final = "*"
Code = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")]
# The codes themselves are monitoring's; any word of their form is taken.
Activity = Annotated[str, Field(pattern=r"^(\*|[a-z_]{1,40})$")]
Line = Annotated[str, Field(min_length=1, max_length=1000)]


def ground_of(layer: Layer, category: str | None, level: str | None) -> str:
    """The class of ground of a feature; a zone that the table does not know is a class of its own, without rules."""
    match layer:
        case Layer.redlines:
            return REDLINE
        case Layer.key_function_zones:
            return "key_function_zone"
        case Layer.biodiversity_priority_areas:
            return "biodiversity_priority_area"
        case Layer.important_wetlands:
            return "wetland_provincial" if level == "provincial" else "wetland_national"
        case _:
            return str(category)


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(_Row):
    """A row: what holds from a day on for an activity without a permit on a class of ground.

    Attributes:
        activities: codes it speaks of; `*`: all of which no other rule of the ground speaks.
        since, until: first and last day; None: still in force.
        own_law: of the ground's own law (nature reserves, scenic areas, water sources, wetlands): named first where
            two rules are as strict.
        permits: kinds that make the activity allowed; `*`: all.
        legacy_verdict, legacy_severity: of what was there before the ground was protected; None: the same.
        reason_en, reason_zh: why, in words. source: law and article.
        text_checked: whether somebody compared the row with the gazette.
    """

    code: Code
    ground: str
    activities: tuple[Activity, ...] = (ANY,)
    since: date
    until: date | None = None
    own_law: bool = False
    verdict: Verdict
    severity: Severity
    permits: tuple[PermitKind | Literal["*"], ...] = ()
    legacy_verdict: Verdict | None = None
    legacy_severity: Severity | None = None
    reason_en: Line
    reason_zh: Line
    source: Line
    text_checked: bool = False
    note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ground not in GROUNDS:
            raise ValueError(f"ground is {self.ground!r}; it must be one of {', '.join(GROUNDS)}")
        if self.until is not None and self.until < self.since:
            raise ValueError("until lies before since")
        if not self.activities:
            raise ValueError("activities is empty; write * for all")
        if Verdict.boundary in (self.verdict, self.legacy_verdict):
            raise ValueError("boundary is measured, no rule can give it")
        return self

    def holds(self, on: date) -> bool:
        """Whether it is in force on a day."""
        return self.since <= on and (self.until is None or on <= self.until)

    def admits(self, kind: str | None) -> bool:
        """Whether a permit of a kind makes the activity allowed."""
        return ANY in self.permits or kind in self.permits


class Example(_Row):
    """A case with the verdict that the table must give; what is None is not compared.

    Attributes:
        grounds: m² inside by class. area_m2: of the whole change.
        contact_m: length of the border inside the change. pixel_m: edge of a pixel.
        established: when the ground was first protected.
        permits: share of the part inside that valid permits cover, by kind.
        rule: the code of the rule that must decide.
    """

    name: Line
    grounds: dict[str, float]
    area_m2: float = 10_000.0
    activity: str | None = None
    first_seen_on: date
    last_clear_on: date | None = None
    established: date | None = None
    contact_m: float = 0.0
    pixel_m: float | None = None
    min_area_m2: float | None = None
    permits: dict[PermitKind, float] = {}
    verdict: Verdict
    severity: Severity | None = None
    rule: str | None = None
    establishment: Establishment | None = None


class Parameters(_Row):
    """Figures of the decision that are no law.

    Attributes:
        accuracy_m: how far a drawn border may lie from the true one, by layer, for versions that do not say.
        pixel_m: edge of a pixel, where the imagery's is not known.
        covered_share: of the part inside that permits must cover to allow it. nearly_covered_share: from which on the
            edge of the permit decides (压线).
    """

    accuracy_m: dict[Layer, Annotated[float, Field(gt=0, le=10_000)]]
    pixel_m: float = Field(10.0, gt=0, le=1000)
    covered_share: float = Field(0.99, gt=0.5, le=1)
    nearly_covered_share: float = Field(0.90, gt=0.5, le=1)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [layer.value for layer in RESTRICTING if layer not in self.accuracy_m]
        if missing:
            raise ValueError(f"accuracy_m is missing for {', '.join(missing)}")
        if self.nearly_covered_share > self.covered_share:
            raise ValueError("nearly_covered_share is larger than covered_share")
        return self


class RuleTable(_Row):
    """A version of the law: rules in their order, examples, parameters."""

    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.-]{0,39}$")
    title: Line
    rules: tuple[Rule, ...] = Field(min_length=1)
    examples: tuple[Example, ...] = Field(min_length=1)
    parameters: Parameters

    @model_validator(mode="after")
    def _unique(self) -> Self:
        codes = [rule.code for rule in self.rules]
        twice = sorted({code for code in codes if codes.count(code) > 1})
        if twice:
            raise ValueError(f"rule codes stand twice: {', '.join(twice)}")
        return self

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, from which `model_validate` makes the same table."""
        return self.model_dump(mode="json")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content in a canonical form."""
        text = json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()

    @cached_property
    def _by_ground(self) -> dict[str, list[tuple[int, Rule]]]:
        found: dict[str, list[tuple[int, Rule]]] = {}
        for index, rule in enumerate(self.rules):
            found.setdefault(rule.ground, []).append((index, rule))
        return found

    def rule_for(self, ground: str, activity: str | None, on: date) -> tuple[int, Rule] | None:
        """The rule and its place in the table; None when the table has none for that day.

        A rule that names the activity goes before one for all; then the newest; then the first in the table.
        """
        held = [
            (activity not in rule.activities, -rule.since.toordinal(), index, rule)
            for index, rule in self._by_ground.get(ground, [])
            if rule.holds(on) and (ANY in rule.activities or activity in rule.activities)
        ]
        if not held:
            return None
        *_, index, rule = min(held, key=lambda entry: entry[:3])
        return index, rule

    def days_of_change(self, grounds: frozenset[str]) -> frozenset[date]:
        """The days on which another rule begins to hold for one of some classes of ground."""
        rules = [rule for ground in grounds for _, rule in self._by_ground.get(ground, [])]
        ends = {rule.until + timedelta(days=1) for rule in rules if rule.until and rule.until < date.max}
        return frozenset({rule.since for rule in rules} | ends)
