"""Who accepts, publicises, closes and re-checks a case, and how long its closure is publicised (DESIGN section 7).

A version of the chain is a set of rules, chosen by supervision source and protected-area level. A case is judged by
the version that was in force when it was dispatched, whatever comes later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Protocol


class ChainParty(StrEnum):
    """Who takes a step of the chain."""

    # The lead unit's own: what its `accepting_unit_id` names, else its parent. Of a unit directly under the province
    # that is the province.
    accepting_unit = "accepting_unit"
    province = "province"


@dataclass(frozen=True)
class ChainRule:
    """Who takes which step for cases of a supervision source and protected-area level; None means any.

    Attributes:
        valid_from: the first day on which cases are dispatched by this version.
        notice_days: calendar days in Asia/Shanghai; the case may be closed on the day after the last of them.
        rechecks: who decides, after a re-check, that a closed case is reopened.
    """

    version: str
    valid_from: date
    source: str | None
    level: str | None
    notice_days: int
    accepts: ChainParty = ChainParty.accepting_unit
    publicises: ChainParty = ChainParty.province
    closes: ChainParty = ChainParty.province
    rechecks: ChainParty = ChainParty.province


# The default is the table in DESIGN section 7. A rule for one source or level needs the document that says so.
CHAIN: tuple[ChainRule, ...] = (ChainRule("2020-01", date(2020, 1, 1), None, None, notice_days=5),)


class Chained(Protocol):
    """What a rule is chosen by; a case is one."""

    chain: str
    supervision_source: str
    protected_area_level: str | None


def chain_version(on: date, chain: Sequence[ChainRule] | None = None) -> str:
    """The version in force on a day; before the first, the first."""
    rules = CHAIN if chain is None else chain
    begun = [rule for rule in rules if rule.valid_from <= on]
    if begun:
        return max(begun, key=lambda rule: rule.valid_from).version
    return min(rules, key=lambda rule: rule.valid_from).version


def chain_rule(version: str, source: str, level: str | None, chain: Sequence[ChainRule] | None = None) -> ChainRule:
    """The most specific rule of a version: source before level, either before none. A version has one for any."""
    fitting = [
        rule
        for rule in (CHAIN if chain is None else chain)
        if rule.version == version and rule.source in (None, source) and rule.level in (None, level)
    ]
    return max(fitting, key=lambda rule: (rule.source is not None, rule.level is not None))


def rule_of(case: Chained) -> ChainRule:
    """The rule by which a case is judged."""
    return chain_rule(case.chain, case.supervision_source, case.protected_area_level)
