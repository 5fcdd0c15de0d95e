"""How often recognisers were right, by what people decided: the figures behind `redline detectors evaluate`."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final

from scipy.stats import binomtest

from app.casework.labels import Label, Labels
from app.monitoring.activities import OTHER
from app.monitoring.calibrations import expected_calibration_error as calibration_error

# By what decisions are told apart. A detection that several sensors showed counts for each of them.
BY: Final[Mapping[str, Callable[[Label], tuple[str, ...]]]] = MappingProxyType(
    {
        "recogniser": lambda label: (label.named,),
        "area": lambda label: (label.area,),
        "season": lambda label: (label.season,),
        "sensor": lambda label: label.sensors,
        "size": lambda label: (label.size,),
        "confidence": lambda label: (label.confidence,),
        "plan": lambda label: (label.plan,),
    }
)


@dataclass(frozen=True)
class Share:
    """A part of a number of decisions, with its 95 % interval (Wilson 1927)."""

    count: int
    of: int
    share: float
    low: float
    high: float

    @classmethod
    def of_flags(cls, flags: Iterable[bool]) -> Share:
        """Of at least one flag: how many are true."""
        values = list(flags)
        count, of = sum(values), len(values)
        interval = binomtest(count, of).proportion_ci(0.95, method="wilson")
        return cls(count, of, count / of, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class Group:
    """Decisions that have something in common.

    Attributes:
        right: were named as what they were. real: were a human activity at all, whatever its name.
        on_ground: decisions that a field check stands behind.
    """

    name: str
    right: Share
    real: Share
    on_ground: int


@dataclass(frozen=True)
class Evaluation:
    """What the ledger says of the recognisers.

    Attributes:
        tables: by what they are told apart; the largest group first.
        false_alarms: reasons why something was no human activity, by number.
        confusion: named, what it was, how often; where the two differ, the most frequent first.
        calibration_error: of the probabilities as published; None where no decision has one.
    """

    decided: int
    undecided: int
    without_scores: int
    ledger_sequence: int
    tables: Mapping[str, Sequence[Group]]
    false_alarms: Mapping[str, int]
    confusion: Sequence[tuple[str, str, int]]
    calibration_error: float | None

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            **asdict(self),
            "confusion": [{"named": named, "truth": truth, "count": n} for named, truth, n in self.confusion],
        }


def evaluate(found: Labels, by: Iterable[str] = BY) -> Evaluation:
    """The figures of labels, told apart by some or all of `BY`."""
    labels = found.labels
    mistaken = Counter((label.named, _truth_in_words(label)) for label in labels if not label.is_right)
    # What was published before activities were ranked has no probability.
    rated = [label for label in labels if not math.isnan(label.probability)]
    error = calibration_error([label.probability for label in rated], [_first_is_right(label) for label in rated])
    return Evaluation(
        decided=len(labels),
        undecided=found.undecided,
        without_scores=sum(label.scores is None for label in labels),
        ledger_sequence=found.ledger_sequence,
        tables={name: _groups(labels, BY[name]) for name in by},
        false_alarms=dict(Counter(label.reason for label in labels if label.reason).most_common()),
        confusion=[(*pair, count) for pair, count in sorted(mistaken.items(), key=lambda item: (-item[1], item[0]))],
        calibration_error=error if rated else None,
    )


def _groups(labels: Sequence[Label], key: Callable[[Label], tuple[str, ...]]) -> list[Group]:
    members: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        for name in key(label):
            members[name].append(label)
    groups = [
        Group(
            name=name,
            right=Share.of_flags(label.is_right for label in inside),
            real=Share.of_flags(label.is_real for label in inside),
            on_ground=sum(label.on_ground for label in inside),
        )
        for name, inside in members.items()
    ]
    return sorted(groups, key=lambda group: (-group.right.of, group.name))


def _truth_in_words(label: Label) -> str:
    return label.truth if label.is_real else f"no activity ({label.reason})"


def _first_is_right(label: Label) -> bool:
    """Whether the most probable cause was it; what no recogniser could name is `other`."""
    could = {label.first, OTHER, *(label.scores or ())}
    return label.first == (label.truth if label.truth in could else OTHER)
