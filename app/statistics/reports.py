"""The standard reports, as data: which measures each has, of what, and the words that go with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from app.statistics.cube import Population
from app.statistics.dimensions import Dimension
from app.statistics.measures import (
    AREAS,
    CLOSURE,
    KEY_PROBLEMS,
    LATENCY,
    OUTCOMES,
    QUALITY,
    STAGES,
    Days,
    Measures,
    new_problems,
    timeliness,
)


class Report(StrEnum):
    closure = "closure"
    key_problems = "key_problems"
    timeliness = "timeliness"
    stages = "stages"
    quality = "quality"
    outcomes = "outcomes"
    new_problems = "new_problems"
    areas = "areas"
    latency = "latency"


@dataclass(frozen=True)
class ReportRow:
    """One report.

    Attributes:
        measures: what it counts, for the days of the question.
        population: of what.
        rows: what it is grouped by where nothing is asked for.
        has_period: whether it speaks of a period beside the instant.
    """

    title: str
    measures: Callable[[Days], Measures]
    notes: tuple[str, ...] = ()
    population: Population = Population.cases
    rows: Dimension | None = None
    has_period: bool = False


def _fixed(measures: Measures) -> Callable[[Days], Measures]:
    return lambda days: measures


REPORTS: Mapping[Report, ReportRow] = MappingProxyType(
    {
        Report.closure: ReportRow(
            "销号情况",
            _fixed(CLOSURE),
            (
                "total = ever_confirmed + unfounded + permitted + undecided + merged + withdrawn; the first alone is "
                "the denominator, the others stand beside the rate.",
            ),
        ),
        Report.key_problems: ReportRow(
            "自然保护地重点问题整改情况",
            _fixed(KEY_PROBLEMS),
            ("Key problems are the kinds of the 绿盾 table (app/casework/green_shield.py) of the day of opening.",),
        ),
        Report.timeliness: ReportRow(
            "按期整改与超期情况",
            timeliness,
            (
                "On time is who applied for closure by the day, as the application was recorded; a returned "
                "application does not stand.",
                "A reopened case has no present due date until its next plan is approved. The first approved one "
                "stays: past it, the case is late by it.",
                "Cases imported after their application have no day of it on record and are not judged.",
            ),
        ),
        Report.stages: ReportRow(
            "各环节用时",
            _fixed(STAGES),
            (
                "By state that was left by the instant; a case that went through a state twice counts twice, under the "
                "unit and the lists that it had when it left.",
                "Days are those on which things happened, as stated.",
            ),
            population=Population.passages,
            rows=Dimension.state,
        ),
        Report.quality: ReportRow("退回与反弹情况", _fixed(QUALITY)),
        Report.outcomes: ReportRow("核查结论", _fixed(OUTCOMES)),
        Report.new_problems: ReportRow(
            "新增问题双下降",
            new_problems,
            (
                "Problems are new on the day on which they were opened; both periods are as recorded by the instant.",
                "An imported case was opened, to the ledger, on the day that its import states: the one on which it "
                "came into the state that it was imported in.",
            ),
            has_period=True,
        ),
        Report.areas: ReportRow("问题面积与修复面积", _fixed(AREAS)),
        Report.latency: ReportRow(
            "发现时效",
            _fixed(LATENCY),
            ("Of cases that the imagery found, whatever became of them.",),
        ),
    }
)
