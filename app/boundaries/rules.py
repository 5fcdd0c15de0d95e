"""What the law says of human activity on restricted ground: a table by class of ground and day.

The texts behind each rule were compared with published summaries, not with the gazettes: `text_checked` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from app.boundaries.columns import ZONES
from app.boundaries.models import Verdict

RULES_VERSION = "2022.1"
REDLINE = "redline"
CLASSES = {REDLINE: "生态保护红线", **ZONES}

_THREE_LINES = "关于在国土空间规划中统筹划定落实三条控制线的指导意见 (2019)"
_RED_LINE_NOTICE = "自然资发〔2022〕142号 关于加强生态保护红线管理的通知（试行）"
_RED_LINE_OPINION = "关于划定并严守生态保护红线的若干意见 (2017)"
_RESERVES = "自然保护区条例 (1994, 2017 修订)"


@dataclass(frozen=True)
class Rule:
    """What holds, from a day on, for activity without a permit on one class of ground.

    Attributes:
        ground: `redline`, or a zone of a protected area.
        reason: why, in words; follows "…: ".
    """

    code: str
    ground: str
    since: date
    verdict: Verdict
    reason: str
    source: str
    text_checked: bool = False


# The first rule of a verdict's rank decides; of one class, the newest that began by the day.
RULES: tuple[Rule, ...] = (
    Rule(
        "core-protection",
        "core_protection",
        date(2019, 11, 1),
        Verdict.prohibited,
        "human activity is prohibited in principle in a core protection zone",
        _THREE_LINES,
    ),
    Rule(
        "reserve-core",
        "reserve_core",
        date(1994, 12, 1),
        Verdict.prohibited,
        "nobody may enter the core of a nature reserve, and no production facility may be built there",
        f"{_RESERVES} 第二十七条、第三十二条",
    ),
    Rule(
        "reserve-buffer",
        "reserve_buffer",
        date(1994, 12, 1),
        Verdict.prohibited,
        "tourism, production and production facilities are prohibited in the buffer of a nature reserve",
        f"{_RESERVES} 第二十八条、第三十二条",
    ),
    Rule(
        "reserve-experimental",
        "reserve_experimental",
        date(1994, 12, 1),
        Verdict.needs_recognition,
        "the experimental zone of a nature reserve admits only approved activity that does not harm it",
        f"{_RESERVES} 第十八条、第三十二条",
    ),
    Rule(
        "general-control",
        "general_control",
        date(2019, 11, 1),
        Verdict.needs_recognition,
        "outside the core only limited human activity that does not harm the ecosystem is allowed, once recognised",
        f"{_THREE_LINES}; {_RED_LINE_NOTICE}",
    ),
    Rule(
        "redline-2017",
        REDLINE,
        date(2017, 2, 7),
        Verdict.needs_recognition,
        "a red line is managed as ground where development is prohibited; an activity needs a lawful exception",
        _RED_LINE_OPINION,
    ),
    Rule(
        "redline-2022",
        REDLINE,
        date(2022, 8, 16),
        Verdict.needs_recognition,
        "only the ten kinds of limited human activity are allowed, once recognised 有限人为活动认定",
        _RED_LINE_NOTICE,
    ),
)
_SEVERITY = (Verdict.prohibited, Verdict.needs_recognition)


def rule_for(ground: str, on: date) -> Rule | None:
    """The rule of a class of ground on a day; None when the table has none for that day."""
    begun = [rule for rule in RULES if rule.ground == ground and rule.since <= on]
    return max(begun, key=lambda rule: rule.since, default=None)


def strictest(grounds: list[str], on: date) -> Rule | None:
    """The strictest rule of several classes of ground on a day."""
    rules = [rule for ground in grounds if (rule := rule_for(ground, on))]
    return min(rules, key=lambda rule: _SEVERITY.index(rule.verdict), default=None)
