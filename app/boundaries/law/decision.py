"""The decision: from what lies inside which ground to a verdict with the rule that gave it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum

from app.boundaries.law.table import Example, Parameters, Rule, RuleTable
from app.boundaries.vocabulary import RESTRICTING, Establishment, Layer, Severity, Verdict

# A contact of less than this is the noise of two drawings of one border.
NOISE_M2 = 1.0


class Why(StrEnum):
    """What gave a verdict."""

    rule = "rule"
    permit = "permit"
    permit_edge = "permit_edge"  # a permit covers nearly all: its edge decides
    pixel = "pixel"  # the part inside is smaller than a pixel
    accuracy = "accuracy"  # ... than the border's accuracy can tell
    min_area = "min_area"  # ... than the smallest area that is looked for
    no_rule = "no_rule"
    outside = "outside"
    no_layers = "no_layers"


# 压线: it lies on a border, and is neither inside nor outside as far as anybody can tell.
ON_THE_BORDER = (Why.pixel, Why.accuracy, Why.min_area)


@dataclass(frozen=True)
class Part:
    """What of a change lies in one class of ground, on one day.

    Attributes:
        area_m2: of the union of the class's features inside the change.
        contact_m: length of the class's border inside the change.
        accuracy_m: how far that border may lie from the true one.
        established: when its features were first protected.
        covered: share that permits of the kinds which a rule admits cover.
    """

    ground: str
    area_m2: float
    contact_m: float
    accuracy_m: float
    established: frozenset[date]
    covered: Callable[[Rule], float]


@dataclass(frozen=True)
class Facts:
    """What is known of a change besides its ground.

    Attributes:
        on: the legal day.
        has_layers: whether any restricting layer was in force on it.
        permitted: share of the whole change that valid permits of any kind cover.
        together: all that lies inside any class of ground, as one part; None: not known.
    """

    on: date
    first_seen_on: date
    last_clear_on: date | None
    activity: str | None
    area_m2: float
    pixel_m: float | None
    min_area_m2: float | None
    has_layers: bool
    permitted: float
    together: Callable[[], Part] | None = None


@dataclass(frozen=True)
class Outcome:
    """What the law says of one part.

    Attributes:
        place: of the rule in the table. covered: share that permits cover which the rule admits.
    """

    part: Part
    verdict: Verdict
    severity: Severity
    why: Why
    rule: Rule | None = None
    place: int = 0
    covered: float = 0.0
    establishment: Establishment | None = None


@dataclass(frozen=True)
class Decision:
    """The verdict of a change on a day.

    Attributes:
        outcomes: of all parts, largest first. decided: the one that gave the verdict; None: outside everything.
        joint: whether each part by itself is on a border, and all together are not.
    """

    verdict: Verdict
    severity: Severity
    why: Why
    outcomes: tuple[Outcome, ...]
    decided: Outcome | None = None
    joint: bool = False

    @property
    def rule(self) -> Rule | None:
        """The rule that decided."""
        return self.decided.rule if self.decided else None

    @property
    def establishment(self) -> Establishment | None:
        """Whether it was there before the ground that decided was protected; None: cannot be told."""
        return self.decided.establishment if self.decided else None


def establishment(
    established: frozenset[date], first_seen_on: date, last_clear_on: date | None
) -> Establishment | None:
    """Whether a change came before or after ground was protected; it happened after `last_clear_on`, up to
    `first_seen_on`. None where the interval lies astride, or the ground was protected at several times between.
    """
    if not established:
        return None
    if first_seen_on < min(established):
        return Establishment.legacy
    # The first day on which it can have happened is the one after the last clear view.
    if last_clear_on is not None and last_clear_on + timedelta(days=1) >= max(established):
        return Establishment.new
    return None


def decide(table: RuleTable, parts: Sequence[Part], facts: Facts) -> Decision:
    """The strictest of what the law says of each part.

    A part on a border decides nothing while another is inside. Of two that are as strict, the ground's own law is named
    before others, then what stands first in the table. Where the borders are those between zones, it is inside all the
    same: the mildest of what the law says of them holds.
    """
    outcomes = tuple(
        _outcome(table, part, facts, on_the_border(part, facts, table.parameters))
        for part in sorted(parts, key=lambda part: (-part.area_m2, part.ground))
        if part.area_m2 >= NOISE_M2
    )
    if not outcomes:
        if facts.permitted >= table.parameters.covered_share:
            return Decision(Verdict.allowed, Severity.none, Why.permit, ())
        why = Why.outside if facts.has_layers else Why.no_layers
        return Decision(Verdict.undetermined, Severity.none, why, ())
    solid = [outcome for outcome in outcomes if outcome.why not in ON_THE_BORDER]
    if solid:
        decided = min(solid, key=_strictness)
    elif joint := _joint(outcomes, facts, table.parameters):
        # As if all of it lay in the one class, or in the other.
        either = [replace(joint, ground=one.part.ground, established=one.part.established) for one in outcomes]
        decided = max((_outcome(table, part, facts, None) for part in either), key=_strictness)
    else:
        return Decision(Verdict.boundary, Severity.none, outcomes[0].why, outcomes, outcomes[0])
    return Decision(decided.verdict, decided.severity, decided.why, outcomes, decided, joint=not solid)


def _joint(outcomes: Sequence[Outcome], facts: Facts, parameters: Parameters) -> Part | None:
    """All that is inside as one part, where several are on a border and all together are not."""
    if len(outcomes) < 2 or facts.together is None:
        return None
    part = facts.together()
    return part if on_the_border(part, facts, parameters) is None else None


_RANK = (Verdict.prohibited, Verdict.needs_recognition, Verdict.boundary)
_SEVERITY = (Severity.high, Severity.medium, Severity.low, Severity.none)


def _strictness(outcome: Outcome) -> tuple[int, int, bool, int]:
    """Smallest is strictest. Ground of which the table knows nothing goes before what is allowed; what a rule leaves
    open (a key function zone) goes last: a permit for the rest stands.
    """
    if outcome.verdict in _RANK:
        rank = _RANK.index(outcome.verdict)
    elif outcome.why is Why.no_rule:
        rank = 3
    else:
        rank = 4 if outcome.verdict is Verdict.allowed else 5
    own_law = outcome.rule is not None and outcome.rule.own_law
    return rank, _SEVERITY.index(outcome.severity), not own_law, outcome.place


def on_the_border(part: Part, facts: Facts, parameters: Parameters) -> Why | None:
    """Whether a part is 压线: what is inside is less than can be told, and something is outside."""
    if part.area_m2 > facts.area_m2 - NOISE_M2:
        return None
    pixel_m = facts.pixel_m or parameters.pixel_m
    if part.area_m2 < pixel_m * pixel_m:
        return Why.pixel
    if part.area_m2 < part.accuracy_m * part.contact_m:
        return Why.accuracy
    return Why.min_area if facts.min_area_m2 and part.area_m2 < facts.min_area_m2 else None


def _outcome(table: RuleTable, part: Part, facts: Facts, border: Why | None) -> Outcome:
    found = table.rule_for(part.ground, facts.activity, facts.on)
    when = establishment(part.established, facts.first_seen_on, facts.last_clear_on)
    place, rule = found or (len(table.rules), None)
    if border is not None:
        return Outcome(part, Verdict.boundary, Severity.none, border, rule, place, establishment=when)
    if rule is None:
        return Outcome(part, Verdict.undetermined, Severity.none, Why.no_rule, None, place, establishment=when)
    covered = min(part.covered(rule), 1.0)
    if covered >= table.parameters.covered_share:
        return Outcome(part, Verdict.allowed, Severity.none, Why.permit, rule, place, covered, when)
    verdict, severity = rule.verdict, rule.severity
    if when is Establishment.legacy:
        verdict, severity = rule.legacy_verdict or verdict, rule.legacy_severity or severity
    if covered >= table.parameters.nearly_covered_share:
        return Outcome(part, Verdict.boundary, Severity.none, Why.permit_edge, rule, place, covered, when)
    return Outcome(part, verdict, severity, Why.rule, rule, place, covered, when)


def decide_example(table: RuleTable, example: Example) -> Decision:
    """What the table says of an example."""

    def covered(rule: Rule) -> float:
        return sum(share for kind, share in example.permits.items() if rule.admits(kind))

    established = frozenset({example.established} if example.established else ())
    parts = [
        Part(ground, area, example.contact_m, _accuracy(table, ground), established, covered)
        for ground, area in example.grounds.items()
    ]
    facts = Facts(
        on=example.first_seen_on,
        first_seen_on=example.first_seen_on,
        last_clear_on=example.last_clear_on,
        activity=example.activity,
        area_m2=example.area_m2,
        pixel_m=example.pixel_m,
        min_area_m2=example.min_area_m2,
        has_layers=True,
        permitted=sum(example.permits.values()),
    )
    return decide(table, parts, facts)


def _accuracy(table: RuleTable, ground: str) -> float:
    layers = {
        "redline": Layer.redlines,
        "key_function_zone": Layer.key_function_zones,
        "biodiversity_priority_area": Layer.biodiversity_priority_areas,
    }
    prefixes = {
        "scenic": Layer.scenic_areas,
        "water": Layer.drinking_water_sources,
        "wetland": Layer.important_wetlands,
    }
    layer = layers.get(ground) or prefixes.get(ground.split("_")[0], Layer.protected_areas)
    assert layer in RESTRICTING
    return table.parameters.accuracy_m[layer]


def failures(table: RuleTable) -> list[str]:
    """What is wrong with each example that the table answers otherwise than expected; empty: all hold."""
    wrong = []
    for example in table.examples:
        decision = decide_example(table, example)
        given: dict[str, str | None] = {
            "verdict": decision.verdict,
            "severity": decision.severity,
            "rule": decision.rule.code if decision.rule else None,
            "establishment": decision.establishment,
        }
        for name, value in given.items():
            expected = getattr(example, name)
            if expected is not None and expected != value:
                wrong.append(f"{example.name}: {name} is {value}, expected {expected}")
    return wrong
