"""Side tracks of a case (DESIGN section 7), as data: states, clocks, steps, extensions, who records.

`app.casework.tracks` is the only reader that decides; `app.casework.track_docs` draws it. `checked` says whether the
text of the law, or a report of it, was read when the row was written; the rest is from knowledge of the field and to be
read against the text before anyone relies on it.

Days of the law count from the day after the event, months end on the corresponding day or the month's last (Civil Code
arts. 201 and 202). `deadline_rules` makes a rule of each clock, `deadlines` counts it.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType

from app.access.models import Role
from app.casework.lifecycle import Actor
from app.casework.vocabulary import TrackKind

KIND_LABELS: Mapping[TrackKind, str] = MappingProxyType(
    {
        TrackKind.penalty: "行政处罚",
        TrackKind.transfer: "移送公安机关",
        TrackKind.procuratorial: "检察建议",
        TrackKind.compensation: "生态环境损害赔偿",
        TrackKind.accountability: "责任追究",
    }
)


class TrackCommand(StrEnum):
    """Every command of every kind; which is possible when stands in `STEPS`."""

    finish_investigation = "finish_investigation"
    extend = "extend"
    decide = "decide"
    not_impose = "not_impose"
    execute = "execute"
    revoke = "revoke"
    approve = "approve"
    disapprove = "disapprove"
    send = "send"
    accept = "accept"
    refuse = "refuse"
    return_ = "return"
    end_transfer = "end_transfer"
    request_reconsideration = "request_reconsideration"
    uphold_refusal = "uphold_refusal"
    conclude = "conclude"
    reply = "reply"
    close = "close"
    sue = "sue"
    judge = "judge"
    start = "start"
    not_pursue = "not_pursue"
    report_appraisal = "report_appraisal"
    negotiate = "negotiate"
    agree = "agree"
    dismiss_suit = "dismiss_suit"
    perform = "perform"
    handle = "handle"


class Recorder(StrEnum):
    """Who records a step; `RECORDERS` says which roles, and as what their unit must take part in the case."""

    enforcement = "enforcement"
    supervision = "supervision"


_ABOVE = {
    Role.officer: frozenset({Actor.dispatching, Actor.accepting, Actor.unit_above}),
    Role.province: frozenset({Actor.province}),
}
RECORDERS: Mapping[Recorder, Mapping[Role, frozenset[Actor]]] = MappingProxyType(
    {
        Recorder.enforcement: MappingProxyType(
            _ABOVE | dict.fromkeys((Role.county, Role.agency, Role.department), frozenset({Actor.responsible}))
        ),
        # Claims are the province's and the prefecture's (管理规定 art. 6), and nobody records who answers for himself.
        Recorder.supervision: MappingProxyType(
            _ABOVE | {Role.prefecture: frozenset({Actor.accepting, Actor.unit_above})}
        ),
    }
)


@dataclass(frozen=True)
class Clock:
    """By when a step has to be taken.

    Attributes:
        step: what has to happen by then.
        starts: the event that starts it.
        days, months, hours: its length; all 0: the day is named by whoever takes the step before (`due_on`).
        working: whether its days are working days.
        when: the field of the opening that must be true for this clock; None: always.
    """

    name: str
    step: str
    starts: str
    source: str
    checked: bool
    days: int = 0
    months: int = 0
    hours: int = 0
    working: bool = False
    when: str | None = None

    @property
    def is_named(self) -> bool:
        return not (self.days or self.months or self.hours)


def add_months(day: date, months: int) -> date:
    """The corresponding day some months later, or the last of that month."""
    years, month = divmod(day.month - 1 + months, 12)
    year = day.year + years
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


_LAW = "行政处罚法 (2021)"
_PROCURATORIAL = "最高法、最高检关于检察公益诉讼案件适用法律若干问题的解释 (2020) art. 21"
_CASES = "人民检察院公益诉讼办案规则 (2021)"
_R310 = "行政执法机关移送涉嫌犯罪案件的规定 (State Council order 310, 2020)"
_DAMAGE = "生态环境损害赔偿管理规定 (环法规〔2022〕31号)"
_CLOCKS = (
    Clock("penalty_decision", "decide, or not impose", "the filing (立案)", f"{_LAW} art. 60", True, days=90),
    Clock("penalty_payment", "pay", "the decision is served", f"{_LAW} art. 67", False, days=15),
    Clock("transfer_approval", "the head decides", "the written report", f"{_R310} art. 5", True, days=3),
    Clock("transfer_sending", "send to the police", "the head's approval", f"{_R310} art. 5", True, hours=24),
    Clock("police_decision", "the police decide", "the police take the case over", f"{_R310} art. 8", True, days=3),
    Clock("reconsideration", "ask for reconsideration", "notice of the refusal", f"{_R310} art. 9", True, days=3),
    Clock(
        "reconsideration_decision", "the police decide again", "the police have the request", f"{_R310} art. 9", False,
        days=3,
    ),
    Clock(
        "procuratorial_reply_urgent", "reply", "the recommendation is received",
        _PROCURATORIAL, False, days=15, when="urgent",
    ),
    Clock(
        "procuratorial_reply", "reply", "the recommendation is received",
        _PROCURATORIAL, True, months=2,
    ),
    Clock("compensation_start", "start, or decline", "the clue is known", _DAMAGE, False, days=30),
    Clock(
        "compensation_negotiation", "agree, or sue", "the notice of negotiation is served",
        _DAMAGE, False, days=90,
    ),
    Clock("compensation_performance", "perform", "agreement or judgment", "the agreement or judgment itself", True),
    Clock("accountability_answer", "handle, or decline", "the referral", "the referral itself; no law sets it", True),
)  # fmt: skip
CLOCKS: Mapping[str, Clock] = MappingProxyType({clock.name: clock for clock in _CLOCKS})


@dataclass(frozen=True)
class TrackState:
    """A state of a kind.

    Attributes:
        clocks: names of the clocks that run in it; the first whose `when` holds. The same clock in the next state
            goes on, another one starts anew.
        ends: whether the track is at its end, with an outcome. A decision may still be revoked or attacked.
    """

    label: str
    clocks: tuple[str, ...] = ()
    ends: bool = False


_K, _T = TrackKind, TrackState
STATES: Mapping[TrackKind, Mapping[str, TrackState]] = MappingProxyType(
    {
        _K.penalty: {
            "filed": _T("立案", ("penalty_decision",)),
            "investigated": _T("调查终结", ("penalty_decision",)),
            "decided": _T("已作出处罚决定", ("penalty_payment",)),
            "executed": _T("已执行", ends=True),
            "not_imposed": _T("不予处罚", ends=True),
            "revoked": _T("处罚决定已撤销", ends=True),
        },
        _K.transfer: {
            "proposed": _T("拟移送", ("transfer_approval",)),
            "approved": _T("已批准移送", ("transfer_sending",)),
            "not_transferred": _T("不予移送", ends=True),
            "sent": _T("已移送", ("police_decision",)),
            "returned": _T("公安机关退回"),
            "accepted": _T("公安机关立案"),
            "refused": _T("公安机关不予立案", ("reconsideration",), ends=True),
            "reconsidering": _T("复议中", ("reconsideration_decision",)),
            "refusal_upheld": _T("复议维持不予立案", ends=True),
            "concluded": _T("刑事程序终结", ends=True),
        },
        _K.procuratorial: {
            "received": _T("已收到检察建议", ("procuratorial_reply_urgent", "procuratorial_reply")),
            "replied": _T("已回复"),
            "closed": _T("检察机关终结案件", ends=True),
            "sued": _T("提起行政公益诉讼"),
            "judged": _T("已裁判", ends=True),
        },
        _K.compensation: {
            "clue": _T("线索", ("compensation_start",)),
            "appraising": _T("启动调查鉴定"),
            "appraised": _T("鉴定评估完成"),
            "negotiating": _T("磋商中", ("compensation_negotiation",)),
            "agreed": _T("达成赔偿协议", ("compensation_performance",)),
            "sued": _T("提起诉讼"),
            "judged": _T("判决赔偿", ("compensation_performance",)),
            "performed": _T("已履行", ends=True),
            "dismissed": _T("驳回诉讼请求", ends=True),
            "not_pursued": _T("不启动索赔", ends=True),
        },
        _K.accountability: {
            "referred": _T("已移交", ("accountability_answer",)),
            "handled": _T("已处理", ends=True),
            "not_pursued": _T("不予追责", ends=True),
        },
    }
)
# The state that opening a track leads to, and who opens one.
OPENINGS: Mapping[TrackKind, tuple[str, Recorder]] = MappingProxyType(
    {
        _K.penalty: ("filed", Recorder.enforcement),
        _K.transfer: ("proposed", Recorder.enforcement),
        _K.procuratorial: ("received", Recorder.enforcement),
        _K.compensation: ("clue", Recorder.supervision),
        _K.accountability: ("referred", Recorder.supervision),
    }
)


@dataclass(frozen=True)
class Step:
    """One row of a kind's table.

    Attributes:
        target: the state it leads to; None: it stays.
        fields: name of the schema of `fields` in `app.casework.track_schemas`.
        instant: the field that says when it happened, where hours count; else `occurred_on` does.
    """

    kind: TrackKind
    command: TrackCommand
    sources: frozenset[str]
    target: str | None
    recorder: Recorder
    fields: str
    law: str
    checked: bool
    instant: str | None = None


_C, _E, _S = TrackCommand, Recorder.enforcement, Recorder.supervision


def _row(
    kind: TrackKind, command: TrackCommand, sources: str, target: str | None, recorder: Recorder, fields: str, law: str,
    *, checked: bool = False, instant: str | None = None,
) -> Step:  # fmt: skip
    return Step(kind, command, frozenset(sources.split()), target, recorder, fields, law, checked, instant)


_PENALTY = "生态环境行政处罚办法 (2023)"
_SUIT = "行政诉讼法 (2017) art. 25"
_OFFICIALS = "党政领导干部生态环境损害责任追究办法（试行）(2015)"
_TABLE = (
    _row(
        _K.penalty, _C.finish_investigation, "filed", "investigated", _E, "SummaryFields", f"{_LAW} art. 57"
    ),
    _row(_K.penalty, _C.extend, "filed investigated", None, _E, "ExtensionFields", _PENALTY, checked=True),
    _row(
        _K.penalty, _C.decide, "investigated", "decided", _E, "PenaltyDecisionFields", f"{_LAW} art. 60",
        checked=True,
    ),
    _row(
        _K.penalty, _C.not_impose, "filed investigated", "not_imposed", _E, "NotImposedFields",
        f"{_LAW} arts. 33, 57",
    ),
    _row(_K.penalty, _C.execute, "decided", "executed", _E, "ExecutionFields", f"{_LAW} arts. 66–72"),
    _row(
        _K.penalty, _C.revoke, "decided executed", "revoked", _E, "RevocationFields", f"{_LAW} art. 75"
    ),
    _row(
        _K.transfer, _C.approve, "proposed", "approved", _E, "HeadApprovalFields", f"{_R310} art. 5",
        checked=True, instant="approved_at",
    ),
    _row(
        _K.transfer, _C.disapprove, "proposed", "not_transferred", _E, "TrackReasonFields", f"{_R310} art. 5",
        checked=True,
    ),
    _row(
        _K.transfer, _C.send, "approved returned", "sent", _E, "SendingFields", f"{_R310} art. 5", checked=True,
        instant="sent_at",
    ),
    _row(
        _K.transfer, _C.accept, "sent reconsidering", "accepted", _E, "DocumentFields", f"{_R310} art. 8", checked=True
    ),
    _row(_K.transfer, _C.refuse, "sent", "refused", _E, "RefusalFields", f"{_R310} art. 8", checked=True),
    _row(_K.transfer, _C.return_, "sent", "returned", _E, "TrackReasonFields", f"{_R310} art. 7"),
    _row(_K.transfer, _C.end_transfer, "returned", "not_transferred", _E, "TrackReasonFields", f"{_R310} art. 7"),
    _row(
        _K.transfer, _C.request_reconsideration, "refused", "reconsidering", _E, "TrackReasonFields",
        f"{_R310} art. 9", checked=True,
    ),
    _row(
        _K.transfer, _C.uphold_refusal, "reconsidering", "refusal_upheld", _E, "RefusalFields", f"{_R310} art. 9"
    ),
    _row(_K.transfer, _C.conclude, "accepted", "concluded", _E, "CriminalOutcomeFields", f"{_R310} arts. 10, 12"),
    _row(_K.procuratorial, _C.reply, "received", "replied", _E, "ReplyFields", _SUIT),
    _row(_K.procuratorial, _C.close, "received replied", "closed", _E, "TrackReasonFields", _CASES),
    _row(_K.procuratorial, _C.sue, "received replied", "sued", _E, "SuitFields", _SUIT),
    _row(_K.procuratorial, _C.judge, "sued", "judged", _E, "SuitOutcomeFields", _SUIT),
    _row(_K.compensation, _C.start, "clue", "appraising", _S, "SummaryFields", _DAMAGE),
    _row(
        _K.compensation, _C.not_pursue, "clue appraising appraised", "not_pursued", _S, "TrackReasonFields",
        f"{_DAMAGE} art. 18", checked=True,
    ),
    _row(_K.compensation, _C.report_appraisal, "appraising", "appraised", _S, "AppraisalFields", _DAMAGE),
    _row(_K.compensation, _C.negotiate, "appraised", "negotiating", _S, "NegotiationFields", _DAMAGE),
    _row(_K.compensation, _C.agree, "negotiating", "agreed", _S, "AgreementFields", _DAMAGE),
    _row(_K.compensation, _C.sue, "appraised negotiating agreed", "sued", _S, "SuitFields", _DAMAGE),
    _row(_K.compensation, _C.judge, "sued", "judged", _S, "CompensationJudgmentFields", _DAMAGE),
    _row(_K.compensation, _C.dismiss_suit, "sued", "dismissed", _S, "DocumentFields", _DAMAGE),
    _row(_K.compensation, _C.perform, "agreed judged", "performed", _S, "PerformanceFields", _DAMAGE),
    _row(_K.accountability, _C.handle, "referred", "handled", _S, "HandledFields", _OFFICIALS),
    _row(_K.accountability, _C.not_pursue, "referred", "not_pursued", _S, "TrackReasonFields", _OFFICIALS),
)  # fmt: skip
STEPS: Mapping[tuple[TrackKind, TrackCommand], Step] = MappingProxyType(
    {(row.kind, row.command): row for row in _TABLE}
)


@dataclass(frozen=True)
class Extension:
    """How often and how far a clock may be extended: the n-th row is the n-th extension."""

    clock: str
    most_days: int
    approved_by: str
    source: str
    checked: bool


EXTENSIONS: tuple[Extension, ...] = (
    Extension("penalty_decision", 30, "the authority's head", f"{_PENALTY}, difficult cases", True),
    Extension("penalty_decision", 30, "the heads together", f"{_PENALTY}, especially difficult cases", True),
)


def clock_of(kind: TrackKind, state: str, facts: Mapping[str, object]) -> Clock | None:
    """The clock that runs in a state of a track opened with these facts; None: none."""
    clocks = (CLOCKS[name] for name in STATES[kind][state].clocks)
    return next((clock for clock in clocks if clock.when is None or facts.get(clock.when)), None)


def steps_from(kind: TrackKind, state: str) -> list[Step]:
    """The steps that leave (or stay in) a state, in the table's order."""
    return [row for row in _TABLE if row.kind is kind and state in row.sources]


def extensions_of(clock: str) -> list[Extension]:
    """The extensions that a clock allows, first to last."""
    return [row for row in EXTENSIONS if row.clock == clock]
