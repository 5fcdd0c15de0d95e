"""By when each step of a case has to be taken, as data (DESIGN section 7). `deadlines` counts; `deadline_docs` draws.

Two kinds of rows, told apart by `source`: what a law sets, and what is working practice because no law sets it. The
terms of practice are defaults for the province to change by a new version. `checked` says whether the text of the law,
or a report of it, was read when the row was written. The clocks of side tracks are those of `track_lifecycle`; their
lengths stand there alone.

How days are counted: the day of the event is not counted, months end on the corresponding day or the month's last
(Civil Code arts. 201, 202). Art. 203 lets a term that ends on a statutory rest day end on the next working day; it
speaks of civil terms and of terms of a party, so only such rows roll on (`rolls`). A term by which an authority must
act does not: the earlier day is the safe one. "Days" of two, three, five or seven in 行政处罚法 are working days
(art. 85); it sets no clock here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from types import MappingProxyType

from app.casework.lifecycle import Actor, CaseState, Command
from app.casework.track_lifecycle import CLOCKS, KIND_LABELS, STATES, TrackCommand
from app.casework.vocabulary import Priority, RequestKind, TrackKind

VERSION = "2026-01"
# The first day on which clocks start by this version. Before the first version there is none: clocks go by the first.
VALID_FROM = date(2020, 1, 1)
PRACTICE = "working practice; no law sets it"


class Starts(StrEnum):
    """What starts a clock."""

    case_state = "case_state"
    track = "track"
    look_back = "look_back"
    objection = "objection"


@dataclass(frozen=True)
class Term:
    """The length of a clock; all 0: its last day is named, not computed."""

    days: int = 0
    months: int = 0
    hours: int = 0
    working: bool = False

    @property
    def is_named(self) -> bool:
        return not (self.days or self.months or self.hours)


@dataclass(frozen=True)
class Allowance:
    """What may be asked for on a clock.

    Attributes:
        grounds: why; `GROUNDS` says what each means.
        most: how often; None: no limit.
        most_days: how many days each time, counted as the rule counts; None: no limit, or a new day is named.
    """

    grounds: tuple[str, ...]
    most: int | None = None
    most_days: int | None = None


@dataclass(frozen=True)
class DeadlineRule:
    """One row of the table.

    Attributes:
        step: what has to happen by then.
        terms: by priority of the case on the day it starts.
        acts: who has to act; the case's chain says which unit that is (`deadlines.acting_unit`).
        awaits: who takes the step where that is nobody of ours; who `acts` follows it up.
        met_by: events of the ledger that are the step; any other end of the clock's state ends it unmet.
        rolls: whether a last day that is a rest day moves to the next working day.
        lapses: a right, not a duty: past its day it is lost, and nobody is late.
        allows: pauses, exclusions and extensions that may be asked for; none: not allowed.
        remind_before: days before the last one on which who acts is reminded, counted as the rule counts.
        escalate_after: days past the last one after which the unit above is told; None: never.
    """

    name: str
    label: str
    starts: Starts
    step: str
    terms: Mapping[Priority, Term]
    acts: Actor
    met_by: frozenset[str]
    source: str
    checked: bool
    state: CaseState | None = None
    track: TrackKind | None = None
    awaits: str | None = None
    rolls: bool = False
    lapses: bool = False
    allows: Mapping[RequestKind, Allowance] = field(default_factory=lambda: MappingProxyType({}))
    remind_before: tuple[int, ...] = (3, 1)
    escalate_after: int | None = 5
    version: str = VERSION
    valid_from: date = VALID_FROM

    def term(self, priority: Priority = Priority.ordinary) -> Term:
        return self.terms[priority]

    @property
    def is_named(self) -> bool:
        """Whether its last day is named (by a plan, an order, an agreement) and not computed."""
        return self.terms[Priority.ordinary].is_named

    @property
    def counts(self) -> str:
        """What it counts, in words."""
        term = self.terms[Priority.ordinary]
        if term.is_named:
            return "named"
        return "hours" if term.hours else "working days" if term.working else "days"

    @property
    def works(self) -> bool:
        """Whether it counts working days."""
        return self.terms[Priority.ordinary].working


# Why time does not count or more of it is given.
GROUNDS: Mapping[str, str] = MappingProxyType(
    {
        "replanting_season": "越冬，待春季补植",
        "weather": "积雪、封冻、汛期无法现场作业",
        "disaster": "不可抗力、自然灾害",
        "hearing": "听证",
        "appraisal": "鉴定、评估、认定",
        "litigation": "行政复议、诉讼期间",
        "approval": "等待其他机关审批",
        "complexity": "案情复杂",
        "agreement": "协议各方同意变更",
        "announcement": "公告",
        "monitoring": "监测、检测",
        "service": "送达",
        "suspension": "中止调查",
    }
)

_P = Priority
_E, _W, _X = RequestKind.extension, RequestKind.pause, RequestKind.exclusion
_NAMED: Mapping[Priority, Term] = MappingProxyType(dict.fromkeys(Priority, Term()))


def _working(urgent: int, high: int, ordinary: int) -> Mapping[Priority, Term]:
    days = {_P.urgent: urgent, _P.high: high, _P.ordinary: ordinary}
    return MappingProxyType({priority: Term(days=number, working=True) for priority, number in days.items()})


def _commands(*commands: Command) -> frozenset[str]:
    return frozenset(command.value for command in commands)


def _state(
    state: CaseState,
    label: str,
    step: str,
    terms: Mapping[Priority, Term],
    acts: Actor,
    *met_by: Command,
    allows: Mapping[RequestKind, Allowance] | None = None,
    source: str = PRACTICE,
    remind_before: tuple[int, ...] = (3, 1),
    escalate_after: int = 5,
    name: str | None = None,
) -> DeadlineRule:
    return DeadlineRule(
        name or state.value, label, Starts.case_state, step, terms, acts, _commands(*met_by), source, True, state,
        allows=MappingProxyType(dict(allows or {})), remind_before=remind_before, escalate_after=escalate_after,
    )  # fmt: skip


_C, _A, _S = Command, Actor, CaseState
_ONCE = {_E: Allowance(("complexity", "weather", "disaster"), most=1, most_days=10)}
_FIELD = _ONCE | {
    _W: Allowance(("weather", "disaster"), most_days=None),
    _X: Allowance(("appraisal", "hearing", "litigation")),
}
_RECTIFYING = {
    _E: Allowance(("complexity", "weather", "disaster", "approval"), most=2),
    _W: Allowance(("replanting_season", "weather", "disaster", "litigation")),
    _X: Allowance(("appraisal", "hearing", "litigation", "approval")),
}
_DECIDED = (_C.uphold_proposal, _C.reject_proposal)
_STATES = (
    _state(
        _S.dispatched, "接收任务", "start the verification, or return the case", _working(1, 2, 5), _A.lead,
        _C.start_verification, _C.return_, remind_before=(1,), escalate_after=3,
    ),
    _state(
        _S.returned, "重新派发", "dispatch to the right unit", _working(1, 2, 3), _A.dispatching,
        _C.redispatch, remind_before=(1,), escalate_after=3,
    ),
    _state(
        _S.verifying, "核查", "say what was found: unfounded, permitted or confirmed", _working(5, 10, 15), _A.lead,
        _C.propose_unfounded, _C.propose_permitted, _C.confirm, allows=_FIELD,
    ),
    _state(
        _S.unfounded_proposed, "认定不属实", "uphold or reject the proposal", _working(3, 5, 10), _A.accepting,
        *_DECIDED,
    ),
    _state(
        _S.permitted_proposed, "认定合规", "uphold or reject the proposal", _working(3, 5, 10), _A.accepting,
        *_DECIDED,
    ),
    _state(
        _S.confirmed, "制定整改方案", "submit a plan", _working(5, 10, 15), _A.lead, _C.submit_plan, allows=_ONCE
    ),
    _state(
        _S.planned, "审批整改方案", "approve or return the plan", _working(3, 5, 10), _A.accepting,
        _C.approve_plan, _C.return_plan,
    ),
    _state(
        _S.rectifying, "整改", "put it right and apply for closure", _NAMED, _A.lead, _C.request_closure,
        allows=_RECTIFYING, source="the approved plan, not later than the lists in which the case stands",
        remind_before=(30, 7, 1), escalate_after=10, name="rectification",
    ),
    _state(
        _S.closure_requested, "验收", "accept, or return for more work", _working(5, 10, 15), _A.accepting,
        _C.accept, _C.return_closure, allows={_W: Allowance(("weather", "disaster"))},
    ),
    _state(
        _S.accepted, "公示", "publicise, or return for more work", _working(3, 5, 10), _A.publicising,
        _C.publicise, _C.return_acceptance,
    ),
    # Starts on the last day of the notice, which is no deadline itself.
    _state(
        _S.publicised, "销号", "close, once the notice is over", _working(3, 5, 10), _A.closing, _C.close,
        name="closing", allows={_W: Allowance(("litigation",))},
    ),
    _state(
        _S.reopened, "重启核查", "take up the verification again", _working(1, 3, 5), _A.lead, _C.resume,
        remind_before=(1,), escalate_after=3,
    ),
)  # fmt: skip

_ENFORCEMENT = frozenset({TrackKind.penalty, TrackKind.transfer, TrackKind.procuratorial})
_T = TrackCommand
# By clock of `track_lifecycle`: the label, the steps that meet it, and who takes them where it is none of ours.
_TRACKS: Mapping[str, tuple[str, tuple[TrackCommand, ...], str | None]] = MappingProxyType(
    {
        "penalty_decision": ("作出处罚决定", (_T.decide, _T.not_impose), None),
        "penalty_payment": ("缴纳罚款", (_T.execute,), "the party"),
        "transfer_approval": ("批准移送", (_T.approve, _T.disapprove), None),
        "transfer_sending": ("移送公安机关", (_T.send,), None),
        "police_decision": ("公安机关决定立案", (_T.accept, _T.refuse, _T.return_), "the police"),
        "reconsideration": ("提请复议", (_T.request_reconsideration,), None),
        "reconsideration_decision": ("公安机关复议决定", (_T.accept, _T.uphold_refusal), "the police"),
        "procuratorial_reply_urgent": ("书面回复（紧急）", (_T.reply,), None),
        "procuratorial_reply": ("书面回复", (_T.reply,), None),
        "compensation_start": ("启动索赔", (_T.start, _T.not_pursue), None),
        "compensation_negotiation": ("磋商", (_T.agree, _T.sue), None),
        "compensation_performance": ("履行赔偿", (_T.perform,), "the party"),
        "accountability_answer": ("责任追究处理", (_T.handle, _T.not_pursue), None),
    }
)
# Terms of a party or of civil law (Civil Code art. 203; unchecked for fines).
_ROLLING = frozenset({"penalty_payment", "compensation_negotiation"})
_LAPSING = frozenset({"reconsideration"})
# The law's own extensions are steps of the track. Where its term is a named day, whoever named it may name another.
_RENAMED = {_E: Allowance(("agreement", "complexity", "disaster"))}
# What does not count towards a decision on a penalty (生态环境行政处罚办法 (2023), unread). That it was so, the unit
# above finds: who is bound by a clock does not stop it alone.
_NOT_COUNTED = {
    "penalty_decision": {_X: Allowance(("hearing", "announcement", "monitoring", "appraisal", "service", "suspension"))}
}


def _kind_of(clock: str) -> TrackKind:
    return next(kind for kind, states in STATES.items() if any(clock in about.clocks for about in states.values()))


def _track(name: str) -> DeadlineRule:
    clock, kind = CLOCKS[name], _kind_of(name)
    label, steps, awaits = _TRACKS[name]
    term = Term(clock.days, clock.months, clock.hours, clock.working)
    return DeadlineRule(
        name,
        f"{KIND_LABELS[kind]}：{label}",
        Starts.track,
        clock.step,
        MappingProxyType(dict.fromkeys(Priority, term)),
        Actor.lead if kind in _ENFORCEMENT else Actor.accepting,
        frozenset(f"{kind}.{step}" for step in steps),
        clock.source,
        clock.checked,
        track=kind,
        awaits=awaits,
        rolls=name in _ROLLING,
        lapses=name in _LAPSING,
        allows=MappingProxyType(_RENAMED if clock.is_named else _NOT_COUNTED.get(name, {})),
        remind_before=_reminders(term),
        escalate_after=None if name in _LAPSING else 1 if clock.hours or 0 < clock.days <= 3 else 5,
    )


def _reminders(term: Term) -> tuple[int, ...]:
    if term.months or term.days >= 30:
        return (15, 5, 1)
    if term.hours:
        return (0,)
    return (1,) if 0 < term.days <= 3 else (5, 1)


_OTHERS = (
    DeadlineRule(
        "look_back", "回头看", Starts.look_back, "look at the case again and report", _NAMED, Actor.rechecking,
        frozenset({"look_back_reported"}), "the order of the look-back", True,
        allows=MappingProxyType({_E: Allowance(("weather", "disaster", "complexity"), most=2)}),
        remind_before=(7, 1),
    ),
    DeadlineRule(
        "objection", "异议处理", Starts.objection, "uphold or dismiss the objection", _working(3, 5, 10),
        Actor.publicising, _commands(_C.dismiss_objection, _C.uphold_objection), PRACTICE, True,
        allows=MappingProxyType({_X: Allowance(("appraisal", "hearing"))}),
    ),
)  # fmt: skip
RULES: tuple[DeadlineRule, ...] = (*_STATES, *(_track(name) for name in CLOCKS), *_OTHERS)


def rule_in_force(name: str, on: date, rules: Sequence[DeadlineRule] = RULES) -> DeadlineRule:
    """The version of a rule by which a clock starts on a day; before the first, the first.

    Raises:
        KeyError: there is no rule of that name.
    """
    named = [rule for rule in rules if rule.name == name]
    if not named:
        raise KeyError(name)
    begun = [rule for rule in named if rule.valid_from <= on]
    return max(begun, key=lambda rule: rule.valid_from) if begun else min(named, key=lambda rule: rule.valid_from)


def rule_of(name: str, version: str, rules: Sequence[DeadlineRule] = RULES) -> DeadlineRule:
    """The rule by which a clock was started (`Deadline.rule`, `Deadline.rule_version`).

    Raises:
        KeyError: there is no such rule in that version.
    """
    found = next((rule for rule in rules if rule.name == name and rule.version == version), None)
    if found is None:
        raise KeyError(name, version)
    return found


def rule_of_state(state: CaseState, on: date) -> DeadlineRule | None:
    """The rule of a case's state on a day; None: nobody has to act in it."""
    name = _NAME_OF_STATE.get(state)
    return rule_in_force(name, on) if name else None


_NAME_OF_STATE: Mapping[CaseState, str] = MappingProxyType(
    {rule.state: rule.name for rule in RULES if rule.state is not None}
)
